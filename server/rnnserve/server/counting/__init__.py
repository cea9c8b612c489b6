"""Counting: a server's metrics, as numbers in memory that outlives the process that writes them.

A process adds to its own table (`table`), whose rows have a fixed layout (`places`). A supervisor creates the table of
each worker and can read it at any time, even after the worker was killed. `exposition` sums the tables and declares the
metrics.

Imports `errors` and `rnnserve.common`, but not gRPC.

Public: `exposition`, `places`, `table`.
"""
