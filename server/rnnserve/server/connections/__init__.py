"""Connections: whose a call is, and how many bytes of requests and responses may be in memory.

`byte_budget` counts bytes in flight and guards those of messages that are still arriving; `private_socket` names the
clients behind the HTTP gateway.

Imports `clock`, `errors`, `rnnserve.common` and `rnnserve.protos`; no gRPC.

Threads: `byte_budget`.

Door: `byte_budget`, `private_socket`.
"""
