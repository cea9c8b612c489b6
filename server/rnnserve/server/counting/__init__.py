"""Counts of what a server does: numbers in memory that outlives the process that adds to them.

A process adds to its own table (`table`), whose rows have a fixed layout (`places`). A supervisor makes the table of
each worker, and reads it at any time, also after a kill. `exposition` sums the tables and declares the metrics.

Imports `errors` and `rnnserve.common`; no gRPC.

Door: `exposition`, `places`, `table`.
"""
