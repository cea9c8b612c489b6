"""Connections that lie idle: where memory is short, those that have sent much are ended, the longest idle ones first.

gRPC's core keeps for each open connection as much room to read into as was once filled, up to a mebibyte, and gives it
back with the connection alone: a thousand that had sent one large message each and lay idle kept more than a gigabyte.
A client of gRPC connects anew with its next call, and notices nothing else.
"""

import contextlib
import socket
import struct
from collections.abc import Callable, Collection

from rnnserve.server.connections.flood_guard import address_of
from rnnserve.server.sockets.goaway import dismiss
from rnnserve.server.sockets.listening import connections, peer_of

__all__ = ["ANSWER_SECONDS", "IdleConnections"]

ANSWER_SECONDS = 10.0
"""Seconds beside those of its wait in which a request that has arrived is answered: until then it is in hand, and its
connection not idle."""

_MUCH = 128 << 10
"""Bytes that a connection has brought since it began, from which it may keep what is worth ending it for."""

_MOST_KEPT = 3 << 19
"""Bytes that an open connection keeps that has sent much: a mebibyte to read into, and what lies beside. Beyond it:
where all of them together have more than `--max-held-bytes` and 144 MiB, those are ended that have brought nothing for
`--max-wait` and 10 s, but for such with kept sequences; their clients connect anew with the next call."""

_LAST_DATA_RECEIVED = 52
_BYTES_RECEIVED = 128
_SIZE = 136
"""Offsets of 4 and 8 bytes in `struct tcp_info` (linux/tcp.h), and its size up to there."""


class IdleConnections:
    """Ends connections of a port."""

    def __init__(
        self, port: Callable[[], int], needed: Callable[[], Collection[str]], *, idle_seconds: float, can_tell: bool
    ) -> None:
        """Prepare.

        Args:
            port: Function that gives the port.
            needed: Function that gives the names in gRPC of connections that are not to be ended, idle or not.
            idle_seconds: Seconds without a byte from its client, from which a connection is idle.
            can_tell: Whether connections are without TLS, so that clients can be told.
        """
        self._port = port
        self._needed = needed
        self._idle_seconds = idle_seconds
        self._can_tell = can_tell

    def kept_bytes(self) -> int:
        """Give the bytes that gRPC's core may keep for the connections that are open, idle or not."""
        kept = 0
        for connection in connections(self._port()):
            with connection, contextlib.suppress(OSError):
                _, received = _idle_seconds_of(connection)
                if received >= _MUCH:
                    kept += min(received, _MOST_KEPT)
        return kept

    def end(self, count: int) -> int:
        """End some of those that have been idle for longest.

        Args:
            count: Number of connections at most.

        Returns:
            Number of those that have been.
        """
        needed = {address_of(name) for name in self._needed()}
        idle: list[tuple[float, str]] = []
        for connection in connections(self._port()):
            with connection, contextlib.suppress(OSError):  # it has ended
                seconds, received = _idle_seconds_of(connection)
                if seconds >= self._idle_seconds and received >= _MUCH and (peer := peer_of(connection)) not in needed:
                    idle.append((seconds, peer))
        ending = {peer for _, peer in sorted(idle, reverse=True)[:count]}
        for connection in connections(self._port()) if ending else ():
            with connection, contextlib.suppress(OSError):
                if peer_of(connection) in ending:
                    dismiss(connection, can_tell=self._can_tell)
        return len(ending)


def _idle_seconds_of(connection: socket.socket) -> tuple[float, int]:
    """Seconds since the last byte of a connection came, and the bytes that have come in all."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
    (milliseconds,) = struct.unpack_from("=I", info, _LAST_DATA_RECEIVED)
    (received,) = struct.unpack_from("=Q", info, _BYTES_RECEIVED)
    return milliseconds / 1000, received
