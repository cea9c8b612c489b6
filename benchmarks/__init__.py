"""Side-by-side runs of this server against others, in one run: `make bench`, or `python -m benchmarks --help`.

Nothing imports this package, and it is in no wheel. What it needs beside the project's own environment it installs into
`.venv-bench` and `.venv-perf`; what it makes lies in `.bench` and `benchmarks/results`.
"""
