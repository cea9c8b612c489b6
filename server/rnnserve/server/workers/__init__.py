"""Workers: independent processes that share one port, and the supervisor that starts, watches and replaces them.

`supervisor` runs in the parent, and keeps a worker in each place. `heartbeat` is what a worker says of itself, and the
worker's end of the pipes. `desired_models` is the file by which all workers follow what clients load and unload.

Imports `repository`, `system`, `signals`, `counting`, `errors` and `rnnserve.common`; no gRPC.

Threads: `desired_models`, `heartbeat`.

Door: `desired_models`, `heartbeat`, `supervisor`.
"""
