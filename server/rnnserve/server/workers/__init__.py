"""Workers: several processes that share one port, and the supervisor that starts, watches and replaces them.

`supervisor` runs in the parent: it keeps `generation`s of `worker_process`es, and `mending` brings back one that has
ended. `supervisor_link` is a worker's end of the pipes, `messages` is what both ends say, `message_lines` how.
`joint_loading` has all workers serve the same versions; `worker_statistics` sums their counters; `peers` are the
sockets by which workers ask each other for kept states; `signals` receives those of the process; `pulse` says whether
requests make progress.

Imports `protocol`, `repository`, `process`, `counting`, `access`, `errors`, `error_texts` and `rnnserve.common`;
no gRPC.

Threads: `peers`, `signals`, `supervisor_link`.

Door: `peers`, `pulse`, `signals`, `supervisor`, `supervisor_link`, `worker_process`.
"""
