"""Side-by-side measurements of this server and others in one run: `make bench`, `make compare`, `python -m benchmarks`.

No other folder imports this package, and no wheel contains it. It installs Triton and perf_analyzer into environments
of its own, `.venv-bench` and `.venv-perf`. It writes to `.bench` (models, logs, trees of other commits)
and to `benchmarks/results`.

A run goes through these modules: `__main__` (options), `preparation` (tools and models), `scenarios` (what is
measured), `measurement` (the turns), `servers` and `load_generators` (what runs), `metrics` and `report` (what is
printed), `results` (what is written). `model_limits` runs the batches without a server; `earlier_commit` adds a commit
as a peer. `comparison` and `source_trees` compare with another commit. The packages `growth`, `gpu` and
`simulation` are programs of their own: what a request costs as sizes grow, what holds on CUDA, and what fleets of
servers would do.
"""
