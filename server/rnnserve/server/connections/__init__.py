"""Connections: whose a call is, and how many bytes may be in flight.

`byte_budget` counts bytes in flight; `memory_guard` bounds those of messages that are being received; `private_socket`
says whose the calls of the HTTP gateway are.

Imports `clock`, `errors`, `rnnserve.common` and `rnnserve.protos`; no gRPC.

Threads: `memory_guard`.

Door: `byte_budget`, `memory_guard`, `private_socket`.
"""
