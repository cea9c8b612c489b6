"""Transports: sockets, and the processes that share them.

In: connections. `grpc_server` binds the port and serves every method; ModelInfer comes on the lane where grpcio has
what that needs, else by `public_calls`, which answer on the threads of a `thread_pool`; `health` answers
grpc.health.v1. Out: responses and statuses. `memory_guard` ends what takes memory and does not arrive; `allocation` and
`polling` choose how the C library gives memory back and how gRPC reads sockets; `ports` tries and reserves ports;
`worker` and `supervisor` keep several processes on one port.

Imports every other room. `allocation`, `memory_guard`, `polling`, `ports`, `worker` and `supervisor` do not import
grpc.
"""
