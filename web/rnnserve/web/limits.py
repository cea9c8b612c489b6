"""Bounds of the gateway, and of what a client may take."""

import dataclasses

__all__ = ["Limits"]


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds of the gateway, and of what a client may take."""

    max_body_bytes: int = 32 << 20
    """Bytes of a body, as sent and decompressed (`rnnserve web --max-body-bytes`; with `rnnserve serve` twice
    `--max-message-bytes` if that is more). Beyond it: 413."""
    max_held_bytes: int = 64 << 20
    """Bytes of all bodies and large answers in flight. Beyond it: 429."""
    timeout: float = 60.0
    """Seconds that a request may take at the server (`rnnserve web --timeout`). Beyond it: 504."""
    header_seconds: float = 10.0
    """Seconds for the head of a request, from its first byte or from the opening of the connection. Beyond it: the
    connection is closed."""
    head_bytes: int = 64 << 10
    """Bytes of a head. Beyond it: the connection is closed."""
    max_head_bytes: int = 16 << 20
    """Bytes of all heads that are not whole. Beyond it: the connections that have waited for longest are closed."""
    max_pipelined: int = 10_000
    """Requests of all connections that wait for the ones before them. Beyond it: the connections with most of them are
    closed."""
    keep_alive_seconds: float = 75.0
    """Seconds between two requests. Beyond it: the connection is closed."""
    body_seconds: float = 30.0
    """Seconds for a body, and a second more for each 64 KiB of it. Beyond it: 408."""
    write_seconds: float = 30.0
    """Seconds in which a client reads 64 KiB of an answer. Beyond it: the connection is closed."""
    max_connections: int = 4096
    """Connections that are open (`rnnserve web --max-connections`). Beyond it: those without a request that have waited
    for longest are closed."""
    max_frame_bytes: int = 2 << 20
    """Bytes of a frame of a WebSocket stream. Beyond it: close code 1009."""
    max_streams: int = 2048
    """WebSocket streams that are open in a process. Beyond it: close code 1013."""
    max_streams_of_address: int = 1024
    """WebSocket streams of one address. Beyond it: close code 1013."""
    stream_idle_seconds: float = 300.0
    """Seconds without a frame on a WebSocket stream. Beyond it: close code 1000."""
    hosts: frozenset[str] = frozenset()  # names in the header Host, in lower case, that a proxy passes on
    origins: frozenset[str] = frozenset()  # of other sites whose pages may open streams, in lower case
