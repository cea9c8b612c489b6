"""Telling clients that a server is going, before it stops taking their calls.

HTTP/2 has a frame for it, GOAWAY: the client makes no new call on the connection, and those under way end as usual.
gRPC's core sends it when the server is stopped, but refuses what arrives from that moment on: calls that a client made
before it was told end with CANCELLED (docs/lab/findings.md, "Stopping a server"). It has no way to send the frame to
all earlier. So it is written here, to the sockets themselves, while the server takes calls as before. A second GOAWAY,
the core's own, is as the protocol has it (RFC 9113, section 6.8).

That is possible on connections without TLS only, and only between two frames of the core: while nothing waits to be
sent.
"""

import contextlib
import fcntl
import socket
import struct
import sys

from rnnserve.server.sockets.listening import connections

__all__ = ["GOAWAY", "NOTHING_TAKEN", "dismiss", "say_goodbye"]

_TYPE, _LAST_STREAM, _NO_ERROR = 7, (1 << 31) - 1, 0


def _goaway(last_stream: int) -> bytes:
    return struct.pack("!I", 8)[1:] + struct.pack("!BBIII", _TYPE, 0, 0, last_stream, _NO_ERROR)


GOAWAY = _goaway(_LAST_STREAM)
"""No call is refused: which is the last that is taken will be said by a second one."""

NOTHING_TAKEN = _goaway(0)
"""No call is taken: a client that has made one sends it again, on another connection."""

_SIOCOUTQNSD = 0x894B
"""linux/sockios.h: how many bytes wait to be sent."""

_BYTES_ACKED = 120
"""Offset of `tcpi_bytes_acked`, 8 bytes, in `struct tcp_info` (linux/tcp.h)."""


def say_goodbye(port: int) -> int:
    """Send GOAWAY on the connections that this process has accepted on `port`.

    To be called while no answers are sent: the core writes a frame as a whole only if it fits into the socket's buffer.

    Returns:
        On how many it has been sent.
    """
    count = 0
    for connection in connections(port):
        with connection, contextlib.suppress(OSError):  # it has ended, or has no room
            if _has_greeted(connection) and not _unsent(connection):
                count += connection.send(GOAWAY, socket.MSG_DONTWAIT) == len(GOAWAY)
    return count


def dismiss(connection: socket.socket, *, can_tell: bool) -> None:
    """End a connection on which nothing is in hand.

    A client that sees the end only as it makes its next call, as gRPC's in Python may, makes that call on another one.

    Args:
        connection: The connection, a duplicate.
        can_tell: Whether it is without TLS.

    Raises:
        OSError: If it has ended.
    """
    if can_tell and _has_greeted(connection) and not _unsent(connection):
        connection.send(NOTHING_TAKEN, socket.MSG_DONTWAIT)
    connection.shutdown(socket.SHUT_RDWR)


def _has_greeted(connection: socket.socket) -> bool:
    """Whether the core's first frame has arrived, which has to be the first."""
    found = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED + 8)
    return len(found) < _BYTES_ACKED + 8 or bool(int.from_bytes(found[_BYTES_ACKED:], sys.byteorder))


def _unsent(connection: socket.socket) -> int:
    return int.from_bytes(fcntl.ioctl(connection, _SIOCOUTQNSD, bytes(4)), sys.byteorder)
