"""Calls to the server behind the gateway, over gRPC.

`grpc_upstream` calls one server, `private_sockets` the workers of this machine; small inference requests share the
stream of `exchange_stream`.

Door: `grpc_upstream`, `private_sockets`, `upstream`.
"""

__all__: list[str] = []
