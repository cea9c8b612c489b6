"""The sockets of this process on the port that it serves: how it stops listening without refusing anyone, and ends one.

The kernel distributes new connections over the sockets that listen on a shared port, and resets those that a socket
holds unaccepted when it is closed. So before a worker's sockets are closed,

1. a filter in the kernel drops every packet on them that would open a connection. The client's kernel sends it again
   after one second, and it then reaches a worker that still listens;
2. gRPC accepts what was complete, or nearly so.

Some systems let only privileged processes filter. There, a connection that is complete in the moment of the replacement
is reset, and its client connects anew.

gRPC has no call that closes only the listening sockets of a server. They are found among the descriptors of the
process, and each is replaced by another socket that listens to no one, which gRPC may poll and close as its own.
"""

import contextlib
import ctypes
import logging
import os
import socket
import struct
import time
import urllib.parse
from collections.abc import Iterator

__all__ = ["connections", "count_connections", "end_connection", "peer_of", "stop_listening"]

_log = logging.getLogger(__name__)

_HANDSHAKE_SECONDS = 0.1
"""Seconds for a handshake that has begun to end: a round trip, of any but the most distant clients."""

_ACCEPT_SECONDS = 5.0
"""Seconds in which gRPC should have accepted all that was complete; it takes a millisecond where it is not busy."""

_C_LIBRARY = ctypes.CDLL(None)

_SO_ATTACH_FILTER = 26  # Linux; not among the names of `socket`

_DROP_SYN = (
    (0x30, 0, 0, 13),  # load byte 13 of the TCP header: the flags
    (0x45, 0, 1, 0x02),  # SYN?
    (0x06, 0, 0, 0),  # then drop the packet,
    (0x06, 0, 0, 0xFFFF),  # else keep it
)
"""Classic BPF (linux/filter.h), as (operation, jump if true, jump if false, operand)."""


def stop_listening(port: int, *, is_shared: bool = True, longest: float = _ACCEPT_SECONDS) -> None:
    """Stop to listen on `port`: no connection is refused or reset, as long as another process listens there.

    Args:
        port: The port.
        is_shared: Whether another process may listen there; otherwise what connects from now on is refused.
        longest: Seconds that connections which are complete may take to be accepted, `_ACCEPT_SECONDS` at most.
    """
    with _listeners(port) as listeners:
        if is_shared:
            try:
                for _, listener in listeners:
                    _attach_filter(listener)
            except PermissionError:
                _log.warning(
                    "this system lets no process of this user filter connections: one may be reset, and renewed"
                )
            time.sleep(_HANDSHAKE_SECONDS)
        deadline = time.monotonic() + min(longest, _ACCEPT_SECONDS)
        while any(_unaccepted(listener) for _, listener in listeners) and time.monotonic() < deadline:
            time.sleep(1e-3)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as closed:
            closed.bind("")  # a name that the kernel chooses, outside of any file system
            closed.listen(1)
            for fd, _ in listeners:
                os.dup2(closed.fileno(), fd, inheritable=False)


def count_connections(port: int) -> int:
    """Count the connections that this process has accepted on `port` and that are open."""
    count = 0
    for connection in connections(port):
        with connection:
            count += 1
    return count


def end_connection(port: int, peer: str) -> bool:
    """End a connection that this process has accepted on `port`, as if its client had reset it; gRPC cannot.

    What has arrived on it and was not read is not read any more.

    Args:
        port: Port of the server.
        peer: The connection's name in gRPC, "ipv4:127.0.0.1:50000" or "ipv6:%5B::1%5D:50000".

    Returns:
        Whether there was such a connection.
    """
    host, _, number = urllib.parse.unquote(peer.partition(":")[2]).rpartition(":")
    wanted = (host.strip("[]"), int(number)) if number.isdecimal() else None
    is_found = False
    for _, found in _sockets(port):
        with found, contextlib.suppress(OSError):  # it listens, or is closed meanwhile
            name, at, *_ = found.getpeername()
            if (name.removeprefix("::ffff:"), at) == wanted:
                _reset(found)
                is_found = True
    return is_found


def connections(port: int) -> Iterator[socket.socket]:
    """Give the connections that this process has accepted on `port`: duplicates, to be closed by the caller."""
    for _, found in _sockets(port):
        if _is_listening(found):
            found.close()
        else:
            yield found


def peer_of(connection: socket.socket) -> str:
    """Give the address of a connection's client, "127.0.0.1:50000" or "::1:50000".

    Raises:
        OSError: If it has ended.
    """
    host, number, *_ = connection.getpeername()
    return f"{host.removeprefix('::ffff:')}:{number}"


@contextlib.contextmanager
def _listeners(port: int) -> Iterator[list[tuple[int, socket.socket]]]:
    """The descriptors of the listening sockets on `port`, each with a duplicate of it."""
    with contextlib.ExitStack() as stack:
        sockets = [(fd, stack.enter_context(found)) for fd, found in _sockets(port)]
        yield [(fd, found) for fd, found in sockets if _is_listening(found)]


def _sockets(port: int) -> Iterator[tuple[int, socket.socket]]:
    """Descriptors of this process that are TCP sockets on `port`, each with a duplicate, which is the caller's."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, of descriptors
        with contextlib.suppress(OSError), contextlib.ExitStack() as unwanted:  # it is no socket, or closed meanwhile
            duplicate = os.dup(int(name))
            unwanted.callback(os.close, duplicate)
            found = socket.socket(fileno=duplicate)
            unwanted.pop_all()
            unwanted.callback(found.close)
            if found.family in (socket.AF_INET, socket.AF_INET6) and found.getsockname()[1] == port:
                unwanted.pop_all()
                yield int(name), found


def _is_listening(of: socket.socket) -> bool:
    return bool(of.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _reset(connection: socket.socket) -> None:
    """Reset a connection, for all descriptors of it, and have the kernel drop what has arrived.

    Where it is only shut down, gRPC reads on what has arrived: 26 further calls of 100 kB of header fields.
    """
    nowhere = struct.pack("=H14x", socket.AF_UNSPEC)  # connect(2): to dissolve the association
    if _C_LIBRARY.connect(connection.fileno(), nowhere, len(nowhere)):
        connection.shutdown(socket.SHUT_RDWR)


def _attach_filter(listener: socket.socket) -> None:
    """Drop what would open a connection, in the kernel."""
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in _DROP_SYN))
    fprog = struct.pack("HP", len(_DROP_SYN), ctypes.addressof(program))
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)


def _unaccepted(listener: socket.socket) -> int:
    """Connections that are complete and not accepted: `tcpi_unacked` of a listening socket (linux/tcp.h)."""
    (count,) = struct.unpack_from("=I", listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 28), 24)
    return int(count)
