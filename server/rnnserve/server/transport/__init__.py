"""Serving over grpcio: the port, TLS, and every method except those of the fast path.

In: connections. `grpc_server` binds the port with its certificates, starts the fast path, and stops
everything. `control` serves all other methods: those of the protocol, `health` and server reflection. With `--plain`,
`plain_transport` takes the place of the fast path. Out: responses and statuses.

Imports every package below it.

Threads: `control`, `plain_transport`.

Door: `grpc_server`.
"""
