"""The cost of each size: `make growth`, `python -m benchmarks.growth`.

A size (requests in flight, connections, length, hidden size, models, rows per request) grows, and everything else stays
the same. The table compares the cost at each point with its bound: the fast path returning a constant, or the model in
a bare loop.

The program goes through these modules: `__main__` (options), `sizes` (the sizes and their points), `make_models`,
`turns` (the measurement of all sizes except the number of models), `many_models` (the measurement of the number of
models), `results` (the measured figures and their table).
"""
