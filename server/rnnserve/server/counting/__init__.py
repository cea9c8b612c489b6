"""Counts of what a server does: numbers in memory that outlives the process that adds to them.

A process adds to its own table (`table`), whose places are fixed (`places`). A supervisor makes the table of each
worker, and reads it at any time, after a kill, too; it keeps what the dead have counted (`totals`). `exposition` writes
all of it (`families`) as Prometheus reads it, and `endpoint` answers scrapes: for a server without workers in a process
of its own (`scraper`).

Imports `access`, `settings`, `errors`, `rnnserve.common` and `rnnserve.protos`; no gRPC.

Threads: `endpoint`.

Door: `endpoint`, `exposition`, `places`, `table`, `totals`.
"""
