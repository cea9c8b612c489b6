"""Transports: sockets, and the processes that share them.

In: connections. `grpc_server` binds the port and serves every method; ModelInfer comes on the lane where grpcio has
what that needs, else by `public_calls`, which answer on the threads of a `thread_pool`, where `receiving_turns` says
whose message is received next; `header_limit` refuses calls with too many header fields; `health` answers
grpc.health.v1. Out: responses and statuses. `memory_guard` ends what takes memory and does not arrive; `allocation` and
`polling` choose how the C library gives memory back and how gRPC reads sockets; `ports` tries and reserves ports;
`worker`, `generation` and `supervisor` keep several processes on one port, and `supervised` is a worker's end of that;
`listening` leaves a shared port to the others, and ends connections; `pulse` says whether requests make progress, for
which `serving_thread` looks at grpcio's own thread; `signals` receives those of the process.

Imports every other room. Only `grpc_server`, `header_limit`, `health`, `public_calls`, `serving_thread`, `thread_pool`
and `tls` import grpc.
"""
