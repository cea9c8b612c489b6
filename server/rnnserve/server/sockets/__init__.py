"""Sockets: what the server asks of the kernel about its port and its connections.

`ports` tries and reserves ports; `listening` finds the sockets that gRPC has opened, and leaves a shared port to the
other workers; `goaway` tells connected clients to go elsewhere.

Imports `errors`; no gRPC.

Door: `goaway`, `listening`, `ports`.
"""
