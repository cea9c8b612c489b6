"""Options of gRPC's core, with what each was chosen for."""

from rnnserve.server.settings import Settings

__all__ = ["core_options"]

_CALLS_OF_CONNECTION = 1024
"""Calls in flight of one connection, streams included. Beyond it: they wait at the client."""

_PENDING_CALLS = 1 << 24
"""gRPC's core drops calls, with CANCELLED and no message, of which more than this wait for a thread to take them: more
than can be, since this server refuses what is too much itself, and says so. The core's own limit is 1,000."""

_AHEAD = 1 << 20
"""Bytes that a connection may send before a message is received. The core keeps as much room to read into as a
connection has filled at once, for as long as it stays: after large messages on 60 connections 220 MB by default, and
100 MB with this. Beyond it: they wait at the client."""

_MAX_HEADER_BYTES = 16 << 10
"""Bytes of a call's metadata, as HTTP/2 counts them. Beyond it: RESOURCE_EXHAUSTED."""


def core_options(settings: Settings) -> list[tuple[str, int]]:
    """List the options: the core refuses what is far too large, and leaves the rest to this server.

    Its limit on messages is a quarter above `max_message_bytes`, so that request validation refuses a message which is
    somewhat too large, and says more.
    """
    age, age_grace = settings.connection_age, settings.max_connection_age_grace
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes * 5 // 4),
        ("grpc.max_send_message_length", -1),
        ("grpc.per_message_decompression", 0),  # see `validation.parsing`
        ("grpc.max_concurrent_streams", _CALLS_OF_CONNECTION),
        # With it, the core counts streams that were answered a moment ago, until Python lets go of their calls, and
        # refuses others, of a client that keeps to the limit, with a bare REFUSED_STREAM.
        ("grpc.http.overload_protection", 0),
        # Above its soft limit, 8 kB by default, the core refuses calls at random, the more the larger.
        ("grpc.max_metadata_size", _MAX_HEADER_BYTES),
        ("grpc.absolute_max_metadata_size", _MAX_HEADER_BYTES),
        ("grpc.server.max_pending_requests", _PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", _PENDING_CALLS),
        ("grpc.so_reuseport", int(settings.share_port)),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", _AHEAD),
        *([("grpc.max_connection_age_ms", max(1, round(1e3 * age)))] if age else []),
        *([("grpc.max_connection_age_grace_ms", max(1, round(1e3 * age_grace)))] if age_grace else []),
    ]
