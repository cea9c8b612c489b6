"""What each size costs: `make growth`, `python -m benchmarks.growth`.

A size (requests in flight, connections, length, hidden size, models, rows a request) grows, and all else stays. The
cost at each point stands beside what bounds it: the fast path answering a constant, or the model in a bare loop.

A run goes through these modules: `__main__` (options), `sizes` (what grows, and from where to where), `make_models`,
`turns` (the measurement of all sizes but models), `many_models` (that of models), `results` (what was measured, and its
table).
"""
