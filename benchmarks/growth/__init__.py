"""What each size costs: `make growth`, `python -m benchmarks.growth`.

A size (requests in flight, connections, length, hidden size, models, rows a request) grows, and all else stays. The
cost at each point stands beside what bounds it: the fast path answering a constant, or the model in a bare loop. The
slope is said in words.

A run goes through these modules: `__main__` (options), `sizes` (what grows, and from where to where), `make_models`,
`turns` (the measurement of all sizes but models), `many_models` (that of models, with `bare_sessions` as its bound),
`results`, `slopes` (the words), `report` (tables and files), `plot`.
"""
