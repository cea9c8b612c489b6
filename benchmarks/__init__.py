"""Side-by-side measurements of this server and others in one run: `make bench`, `make compare`, `python -m benchmarks`.

No other folder imports this package, and no wheel contains it. It installs Triton and perf_analyzer into environments
of its own, `.venv-bench` and `.venv-perf`. It writes to `.bench` (models, logs, trees of other commits)
and to `benchmarks/results`.

A run goes through these modules: `__main__` (options, tools and models), `scenarios` (what is measured), `measurement`
(the turns), `servers` and `load_generators` (what runs), `metrics` and `report` (what is printed and written).
`model_loop` runs the batches without a server. `comparison` and `source_trees` compare with another commit. The
packages `growth` and `gpu` are programs of their own: what a request costs as sizes grow, and what holds on CUDA.
"""
