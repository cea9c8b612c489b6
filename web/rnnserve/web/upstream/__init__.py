"""Calls to the server behind the front, over gRPC.

`upstream` says what the application asks of it, `grpc_upstream` does it, and `statuses` turns what the server refuses
into errors of HTTP.

Imports the protocol's messages, grpc and `errors`.

Door: `exchange_stream`, `grpc_upstream`, `private_sockets`, `statuses`, `upstream`.
"""

__all__: list[str] = []
