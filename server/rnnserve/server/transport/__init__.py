"""Transports: serving over grpcio, and the end of that.

In: connections. `grpc_server` binds the port and serves every method, with the certificates of `tls`, the options of
`core_options` and the threads of `pools`; `stopping` ends that. ModelInfer comes by a `transport`: by the lane
(`lane_transport`) where grpcio has what that needs, else by `public_transport`: `public_calls` answer on the threads of
a `thread_pool` (`thread_stack`; streams on those of `stream_pool`) as `waiting_calls`, which one `watchdog` looks at.
`health` answers grpc.health.v1, and `reflection` those who ask for descriptions. Out: responses and statuses.

Imports every room below it.

Threads: `thread_pool`, `thread_stack`, `watchdog`.

Door: `grpc_server`.
"""
