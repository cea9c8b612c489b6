"""Transports: sockets, and the processes that share them.

In: connections. `grpc_server` binds the port and serves every method; ModelInfer comes on the lane where grpcio has
what that needs, else by `public_calls`. Out: responses and statuses. `polling` chooses how gRPC reads sockets, `ports`
tries and reserves ports, `worker` and `supervisor` keep several processes on one port.

Imports every other room. `polling`, `ports`, `worker` and `supervisor` do not import grpc.
"""
