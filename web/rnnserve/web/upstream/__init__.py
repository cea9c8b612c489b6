"""Calls to the server behind the gateway, over gRPC.

`grpc_upstream` calls one server, and `private_sockets` calls the workers on this machine. On a private socket, small
inference requests share the stream of `exchange_stream`.

Public: `grpc_upstream`, `private_sockets`, `upstream`.
"""

__all__: list[str] = []
