"""Workers: independent processes that share one port, and the supervisor that starts, watches and replaces them.

`supervisor` runs in the parent process and keeps one worker in each place. `heartbeat` has the status reports of a
worker and the worker's ends of the pipes. `desired_models` is a file through which all workers load and unload the
models that clients request.

Imports `repository`, `system`, `signals`, `counting`, `errors` and `rnnserve.common`, but not gRPC.

Threads: `desired_models`, `heartbeat`.

Public: `desired_models`, `heartbeat`, `supervisor`.
"""
