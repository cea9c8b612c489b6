"""Serving over grpcio: the port, TLS, and all methods outside the fast path.

Input: connections. `grpc_server` binds the port with its certificates, starts the fast path, and stops all parts.
`control` serves all other methods: the rest of the protocol, `health` and server reflection. With `--plain`,
`plain_transport` replaces the fast path. Output: responses and statuses.

Imports every package below it.

Threads: `control`, `plain_transport`.

Public: `grpc_server`.
"""
