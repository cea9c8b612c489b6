"""Calls to the server behind the front, over gRPC.

`upstream` says what the application asks of it. For the server whose front this is, `grpc_upstream` does it, and for
its workers `private_sockets`; for servers elsewhere `listed_servers` does. `statuses` turns what a server refuses into
errors of HTTP.

Imports the protocol's messages, grpc, the client's channels and `errors`.

Door: `exchange_stream`, `grpc_upstream`, `listed_servers`, `private_sockets`, `statuses`, `upstream`.
"""

__all__: list[str] = []
