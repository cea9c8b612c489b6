"""Limits of the gateway, in total and per client."""

import dataclasses

__all__ = ["Limits"]


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of the gateway, in total and per client."""

    max_body_bytes: int = 32 << 20
    """Bytes of a body, as sent and decompressed (`rnnserve web --max-body-bytes`; with `rnnserve serve` twice
    `--max-message-bytes` if that is more). Beyond it: 413."""
    max_held_bytes: int = 64 << 20
    """Bytes of all bodies and large responses in flight. Beyond it: 429."""
    timeout: float = 60.0
    """Seconds that the server has to respond to a request (`rnnserve web --timeout`). Beyond it: 504."""
    header_seconds: float = 10.0
    """Seconds to receive the head of a request, from its first byte or from the opening of the connection. Beyond it:
    the connection is closed."""
    head_bytes: int = 64 << 10
    """Bytes of a request head. Beyond it: the connection is closed."""
    max_head_bytes: int = 16 << 20
    """Bytes of all incomplete request heads. Beyond it: the longest-waiting connections are closed."""
    max_pipelined: int = 64
    """Requests of a connection that wait for earlier ones. Beyond it: the connection is closed."""
    keep_alive_seconds: float = 75.0
    """Seconds between two requests of a connection. Beyond it: the connection is closed."""
    body_seconds: float = 30.0
    """Seconds to receive a body, plus one second for each 64 KiB of it. Beyond it: 408."""
    write_seconds: float = 30.0
    """Seconds that a client may take to read 64 KiB of a response. Beyond it: the connection is closed."""
    max_connections: int = 4096
    """Connections that may be open (`rnnserve web --max-connections`). Beyond it: the longest-waiting connections
    without a request are closed."""
    max_frame_bytes: int = 2 << 20
    """Bytes of a frame of a WebSocket stream. Beyond it: close code 1009."""
    max_streams: int = 2048
    """WebSocket streams that may be open in a process. Beyond it: close code 1013."""
    stream_idle_seconds: float = 300.0
    """Seconds without a frame on a WebSocket stream. Beyond it: close code 1000."""
    allowed: frozenset[str] = frozenset()
    """Host names that a proxy passes on in the Host header, and origins of other sites whose pages may open streams, in
    lower case."""
