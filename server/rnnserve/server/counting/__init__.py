"""Counts of what a server does: numbers in memory that outlives the process that adds to them.

A process adds to its own table (`table`), whose places are fixed (`places`). A supervisor makes the table of each
worker, and reads it at any time, after a kill, too; it keeps what the dead have counted (`totals`). `exposition`
declares the metrics, as a collector of prometheus_client, and `endpoint` answers scrapes.

Imports `access`, `settings`, `errors`, `rnnserve.common` and `rnnserve.protos`; no gRPC.

Threads: `endpoint`.

Door: `endpoint`, `exposition`, `places`, `table`, `totals`.
"""
