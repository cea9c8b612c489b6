"""Transports: serving over grpcio, and the end of that.

In: connections. `grpc_server` binds the port and serves every method, with the certificates of `tls` and the options of
`core_options`. ModelInfer comes on the lane where grpcio has what that needs, else by `public_calls`, which answer on
the threads of a `thread_pool` (`thread_stack`; streams on those of `stream_pool`) as `waiting_calls`. `health` answers
grpc.health.v1, and `reflection` those who ask for descriptions. Out: responses and statuses.

Imports every room below it.
"""
