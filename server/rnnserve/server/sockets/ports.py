"""Ports: whether one is free, how one is reserved for workers to share, and listening on one."""

import contextlib
import socket
from collections.abc import Iterator

from rnnserve.server.errors import StartError

__all__ = ["listen_on", "probe_port", "reserve_port"]

_BACKLOG = 4096


def probe_port(host: str, port: int) -> None:
    """Try whether a port is free for a server that does not share it.

    Raises:
        StartError: If a process listens there, or the host is not this machine's.
    """
    with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(probe, host, port)


@contextlib.contextmanager
def reserve_port(host: str, port: int) -> Iterator[int]:
    """Hold a port for workers to share, without listening on it.

    Args:
        host: The address on which the workers will listen.
        port: 0 for any that is free.

    Yields:
        The port.

    Raises:
        StartError: If it cannot be had. That a process which listens there shares it makes no difference: it would be
            another server of ours, and clients would be answered by either.
    """
    probe_port(host, port)
    with socket.socket(_family(host), socket.SOCK_STREAM) as held:
        # Without SO_REUSEADDR, as gRPC sets it, connections that a server without workers has left in TIME_WAIT keep
        # the port for a minute: they are of sockets without SO_REUSEPORT (docs/lab/findings.md, "Stopping a server").
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _bind(held, host, port)
        yield held.getsockname()[1]


def listen_on(host: str, port: int, purpose: str) -> socket.socket:
    """Listen on a port; 0 takes a free one.

    Raises:
        StartError: If it cannot be had; the message names the purpose.
    """
    listener = socket.socket(_family(host), socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise StartError(f"cannot listen on {host}:{port} for {purpose}: {error.strerror or error}") from error
    return listener


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _bind(socket_: socket.socket, host: str, port: int) -> None:
    try:
        socket_.bind((host, port))
    except OSError as error:
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
