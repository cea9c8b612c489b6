"""Connections: which client a call belongs to, and how many bytes of requests and responses may be in memory.

`byte_budget` counts bytes in flight and watches the memory of messages still arriving. `private_socket`
identifies the clients behind the HTTP gateway.

Imports `clock`, `errors`, `rnnserve.common` and `rnnserve.protos`, but not gRPC.

Threads: `byte_budget`.

Public: `byte_budget`, `private_socket`.
"""
