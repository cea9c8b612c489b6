"""Connections whose bytes keep the threads that read: they are slowed down, so that these come back to the others.

gRPC's core reads from a connection for as long as bytes arrive, on the thread that waits for calls. Messages end that:
their windows close until Python takes them. Frames that need no answer have no window: WINDOW_UPDATE, PRIORITY, PING
with ACK, and those of unknown types. A client that sent 100 MB of them a second kept the lane's thread in one poll for
as long as it went on, and a supervisor killed the worker, since its lane made no turns. The public transport has some
threads that read; eight such clients kept them all (`transport.public_progress` says what a turn is there).

So the guards' thread looks whether the lane's works in one poll for long. Then connections from which more was read
meanwhile than messages may be have their receive windows bounded to some kilobytes: what has arrived is read soon, and
each poll brings little more. So have those that would be next. Nothing is lost: a client that only had much to say is
slowed down and not cut off. The window is opened again a while later; if the connection then keeps the lane again, it
is bounded for twice as long.
"""

import contextlib
import fcntl
import logging
import math
import socket
import struct
import sys
import termios
import urllib.parse
from collections.abc import Callable, Mapping
from typing import NamedTuple

from rnnserve.server.sockets.listening import connections, peer_of

__all__ = ["Arrived", "FloodGuard", "Progress", "address_of", "arrived_by_connection", "bound_window"]

_log = logging.getLogger(__name__)

_WORKING_SECONDS = 0.02
"""Seconds of processor time without a turn from which on the connections are looked at. Batches that run take 10 ms."""

_MUCH = 256 << 10
"""Bytes that are read from a connection between two looks: 5 MB a second. A flood of frames is 20 on a busy machine."""

_UNREAD = 32 << 10
"""Bytes that wait on a connection which is bounded, too, where others keep the lane. With eight floods at once each
kept it for 0.1 s, one after the other."""

_NARROW, _NARROWEST = 16 << 10, 4 << 10
"""Bytes of a bounded window, and of one with which the connection keeps the lane still. Messages go on with the first,
20 MB a second from the same machine. With 32 kB and more, floods of 100 to 250 MB/s went on as before in some runs; the
second brings them down to 0.1."""

_OPEN = 1 << 30
"""More than the kernel would give by itself: no bound."""

_SHORTEST, _LONGEST = 1.0, 60.0
"""Seconds for which a window is bounded: the first time, and at most."""

_FORGIVEN_SECONDS = 10.0
"""Seconds after which a connection whose window was opened again has a first time again."""

_TCPI_BYTES_RECEIVED = 128
"""Offset of 8 bytes in `struct tcp_info` (linux/tcp.h)."""


class Progress(NamedTuple):
    """How far the lane's thread has come.

    Attributes:
        turns: A number that is another after each turn.
        seconds: Processor time that it has used, in seconds.
    """

    turns: int
    seconds: float


class Arrived(NamedTuple):
    """What has arrived on a connection, in bytes: how many have been read in all, and how many have not been."""

    read: int
    unread: int


_NOTHING = Arrived(0, 0)


class FloodGuard:
    """Looks at the threads that read while they serve, and at the connections where these make no turn."""

    def __init__(
        self,
        progress: Callable[[], Progress | None],
        arrived: Callable[[], dict[str, Arrived]],
        expected: Callable[[], Mapping[str, int]],
        bound: Callable[[str, int], None],
    ) -> None:
        """Start without looking.

        Args:
            progress: Count of the turns of the lane's thread; None where it does not poll.
            arrived: Bytes that have arrived on each connection so far, by its name.
            expected: Bytes of messages that may be arriving, by connection: so much may be read from it in one poll.
            bound: A function that bounds the receive window of a connection to so many bytes.
        """
        self._progress = progress
        self._arrived = arrived
        self._expected = expected
        self._bound = bound
        self._since: Progress | None = None  # the last turn, and the processor time at its look
        self._first: dict[str, Arrived] = {}  # at the first look at the connections since that turn,
        self._before: dict[str, Arrived] | None = None  # and at the last
        self._bounded: dict[str, tuple[float, int]] = {}  # until when, and to how many bytes
        self._opened: dict[str, tuple[float, float]] = {}  # when again, and for how long they had been bounded

    def look(self, at: float) -> None:
        """Look once, at a time in seconds of any clock."""
        if self._bounded:
            self._open_again(at)
        progress = self._progress()
        since = self._since
        if progress is None or since is None or progress.turns != since.turns:
            self._since, self._before = progress, None
            return
        if progress.seconds - since.seconds < _WORKING_SECONDS:
            return
        arrived, before = self._arrived(), self._before
        self._before = arrived
        if before is None:
            self._first = arrived
            return
        expected = self._expected()
        flooding = [
            name
            for name, one in arrived.items()
            if one.read - before.get(name, _NOTHING).read >= _MUCH
            and one.read - self._first.get(name, _NOTHING).read >= _MUCH + expected.get(name, 0)
        ]
        for name in flooding:
            self._slow_down(name, at)
        for name, one in arrived.items() if flooding else ():
            if one.unread >= _UNREAD and name not in expected and name not in self._bounded:
                self._bounded[name] = at + _SHORTEST, _NARROW
                self._bound(name, _NARROW)

    def _slow_down(self, name: str, at: float) -> None:
        """Bound a connection's window; that of one that is bounded already to the least."""
        until, size = self._bounded.get(name, (0.0, 0))
        if size == _NARROWEST:
            return
        if not size:
            opened_at, seconds = self._opened.get(name, (-math.inf, 0.0))
            if at - opened_at > _FORGIVEN_SECONDS:
                _log.warning("slowed down the connection %s: to read from it kept all others waiting", name)
                seconds = 0.0
            until = at + min(max(2 * seconds, _SHORTEST), _LONGEST)
            self._opened[name] = until, until - at
        size = _NARROWEST if size else _NARROW
        self._bounded[name] = until, size
        self._bound(name, size)

    def _open_again(self, at: float) -> None:
        """Open the windows whose time is over, and drop those that were opened long ago."""
        over = [name for name, (until, _) in self._bounded.items() if until <= at]
        for name in over:
            del self._bounded[name]
            self._bound(name, _OPEN)
        if over:
            self._opened = {name: was for name, was in self._opened.items() if at - was[0] <= _FORGIVEN_SECONDS}


def arrived_by_connection(port: int) -> dict[str, Arrived]:
    """What has arrived on each connection that this process has accepted on a port, by the address of its peer."""
    found = {}
    for connection in connections(port):
        with connection, contextlib.suppress(OSError):  # it has ended
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCPI_BYTES_RECEIVED + 8)
            received = int.from_bytes(info[_TCPI_BYTES_RECEIVED:], sys.byteorder)
            (unread,) = struct.unpack("=i", fcntl.ioctl(connection, termios.FIONREAD, bytes(4)))
            found[peer_of(connection)] = Arrived(received - unread, unread)
    return found


def address_of(peer: str) -> str:
    """The address of a peer, as `arrived_by_connection` names it, from gRPC's name of it."""
    host, _, number = urllib.parse.unquote(peer.partition(":")[2]).rpartition(":")
    return f"{host.strip('[]').removeprefix('::ffff:')}:{number}"


def bound_window(port: int, peer: str, size: int) -> None:
    """Bound the receive window of a connection, named as `arrived_by_connection` names it, to `size` bytes."""
    for connection in connections(port):
        with connection, contextlib.suppress(OSError):
            if peer_of(connection) == peer:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP, size)
