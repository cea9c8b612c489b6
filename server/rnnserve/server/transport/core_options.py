"""Options of gRPC's core, with what each was chosen for."""

from rnnserve.server.connections.header_limit import MAX_HEADER_BYTES
from rnnserve.server.settings import Settings

__all__ = ["AHEAD", "core_options", "message_bytes"]

_CALLS_OF_CONNECTION = 1024
"""Calls in hand of one connection, streams included. Beyond it: they wait at the client."""

_PENDING_CALLS = 1 << 24
"""gRPC's core drops calls, with CANCELLED and no message, of which more than this wait for a thread to take them: more
than can be, since this server refuses what is too much itself, and says so. The core's own limit is 1,000."""


AHEAD = 256 << 10
"""Bytes that a connection, and each call of it, may send before a message is received: on the public transport, and on
the lane where there is little address space. By default the core measures what a connection would take, on one machine
8 MB and more, and takes as much of each call that still waits for a thread: 48 calls of 15 MB, of which two are
received at once, took 600 MB that are not counted. A message that is received has a window of its size. Small calls of
a client 0.1 s away may have 2.5 MB a second. Beyond it: they wait at the client."""

_AHEAD_OF_LANE = 1 << 20
"""Bytes that a connection may send so on the lane. The core keeps as much room to read into, up to 4 MB, as a
connection has filled at once, for as long as it stays: after large messages on 60 connections 220 MB by default, 100 MB
with this, 60 MB with `AHEAD`, which costs a sixth of the rate of messages of 15 MB. Beyond it: they wait at the
client."""


def message_bytes(settings: Settings) -> int:
    """Bytes of a message, as sent, that the core takes: a quarter above `max_message_bytes`.

    So a message somewhat too large is refused by the boundary, which says more.
    """
    return settings.max_message_bytes * 5 // 4


def core_options(settings: Settings, *, is_narrow: bool) -> list[tuple[str, int]]:
    """Options of gRPC's core: it refuses what is far too large or too much, and leaves the rest to this server.

    Its limit on messages is `message_bytes`.

    Args:
        settings: Settings of the server.
        is_narrow: Whether there is little address space, so that on the lane, too, little is read ahead.
    """
    ahead = AHEAD if settings.transport == "public" or is_narrow else _AHEAD_OF_LANE
    age, age_grace = settings.connection_age, settings.max_connection_age_grace
    return [
        ("grpc.max_receive_message_length", message_bytes(settings)),
        ("grpc.max_send_message_length", -1),
        ("grpc.per_message_decompression", 0),  # see `boundary.compression`
        ("grpc.max_concurrent_streams", _CALLS_OF_CONNECTION),
        # With it, the core counts streams that were answered a moment ago, until Python lets go of their calls, and
        # refuses others, of a client that keeps to the limit, with a bare REFUSED_STREAM.
        ("grpc.http.overload_protection", 0),
        # Above its soft limit, 8 kB by default, the core refuses calls at random, the more the larger.
        ("grpc.max_metadata_size", MAX_HEADER_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_HEADER_BYTES),
        # Pings are answered, however many. Where the core closes a connection for too many, it makes an error of each
        # further one that has arrived, which holds all before it: 50,000 pings, 850 kB, stopped everyone for 3 s.
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.server.max_pending_requests", _PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", _PENDING_CALLS),
        ("grpc.so_reuseport", int(settings.share_port)),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", ahead),
        *([("grpc.max_connection_age_ms", max(1, round(1e3 * age)))] if age else []),
        *([("grpc.max_connection_age_grace_ms", max(1, round(1e3 * age_grace)))] if age_grace else []),
    ]
