"""Side-by-side measurements of this server and others in one run: `make bench`, `make compare`, `python -m benchmarks`.

No other folder imports this package, and no wheel contains it. It installs Triton and perf_analyzer into separate
environments, `.venv-bench` and `.venv-perf`. It writes to `.bench` (models, logs, trees of other commits) and to
`benchmarks/results`.

A benchmark goes through these modules: `__main__` (options, tools and models), `scenarios` (the loads and the goals),
`measurement` (the turns), `servers` and `load_generators` (the measured and the sending processes), `metrics` and
`report` (the figures and the tables). `model_loop` runs the batches without a server. `comparison` and `source_trees`
compare with another commit. The packages `growth` and `gpu` are separate programs: `growth` measures the cost of a
request as sizes grow, and `gpu` checks and measures CUDA.
"""
