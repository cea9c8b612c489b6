"""Bounds of connections."""

import dataclasses

__all__ = ["HttpLimits"]


@dataclasses.dataclass(frozen=True)
class HttpLimits:
    """What a client may take, and for how long.

    Attributes:
        header_seconds: Seconds from the first byte of a request, or the opening of a connection, to the end of the
            head. Beyond it: 408.
        header_bytes: Bytes of a head, with the request line; and of what comes beside a body, between two of its bytes.
            Beyond it: 431.
        header_fields: Fields of a head, and of what follows a body. Beyond it: 431.
        url_bytes: Bytes of the request line's target. Beyond it: 414.
        body_seconds: Seconds for a body, beside the time that its bytes may take. Beyond it: 408.
        body_rate: Bytes a second that a body brings at least, after `body_seconds`.
        write_seconds: Seconds in which a client takes something of what is written; and for all of it, beside the time
            that its bytes may take. Beyond it: the connection is closed.
        write_rate: Bytes a second that a client takes at least, after `write_seconds`.
        keep_alive_seconds: Seconds between two requests. Beyond it: the connection is closed.
        linger_seconds: For which what a refused request still sends is read and dropped, so that the client reads why.
        linger_bytes: As much as is read then.
        half_closed_seconds: For which a client that sends no more is still answered: it may have gone.
        max_connections: Connections that are open (`rnnserve web --max-connections`). Beyond it: the one that has been
            silent for longest gives way; 503 where none is.
        max_held_bytes: Bytes, of all connections together, of what has arrived and is in no request that is answered:
            heads that are not whole, and requests that wait for those before them on their connection. Beyond it: those
            that hold some for longest are closed.
    """

    header_seconds: float = 10.0
    header_bytes: int = 32 << 10
    header_fields: int = 100
    url_bytes: int = 8 << 10
    body_seconds: float = 30.0
    body_rate: float = 64 << 10
    write_seconds: float = 30.0
    write_rate: float = 16 << 10
    keep_alive_seconds: float = 75.0
    linger_seconds: float = 2.0
    linger_bytes: int = 4 << 20
    half_closed_seconds: float = 0.5
    max_connections: int = 4096
    max_held_bytes: int = 32 << 20
