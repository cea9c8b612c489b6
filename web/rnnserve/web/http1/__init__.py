"""HTTP/1.1 on sockets: uvicorn's protocol, with the bounds that it lacks.

Whoever connects can hold a connection, and memory, for as long as these allow and no longer: deadlines for a request's
head and its body, a least rate, a deadline for writing, most bytes and fields of a head, most connections. What is
refused before the application has seen it is refused in JSON, too.

Imports uvicorn and `errors`.

Door: `connection_table`, `direct_protocol`, `known_heads`, `limits`.
"""

__all__: list[str] = []
