"""HTTP/1.1 on sockets: uvicorn's protocol, with the bounds that it lacks.

Whoever connects can hold a connection, and memory, for as long as these allow and no longer: deadlines for a request's
head and its body, least rates of reading and writing, most bytes and fields of a head, most connections, and most bytes
that all of them hold beside the requests that are answered. What is refused before the application has seen it is
refused in JSON, too.

`protocol` is a connection. `heads` is what a head may say, `upgrades` how other protocols are declined, `held_bytes`
what waits, `write_progress` how fast a client reads, `cycle_transport` how answers are written, and `connection_table`
all connections. `served_tls` is what a connection of TLS is made with, and `tls_handshakes` counts those that fail.

`direct_protocol` hands requests that need no more to what answers at once, and `known_heads` finds which these are; all
others take uvicorn's way to the ASGI application.

Imports uvicorn and `errors`.

Door: `connection_table`, `direct_protocol`, `known_heads`, `limits`, `served_tls`.
"""

__all__: list[str] = []
