"""Ports: whether one is free, and how one is reserved for workers to share."""

import contextlib
import socket
from collections.abc import Iterator

from rnnserve.server.errors import StartError

__all__ = ["probe_port", "reserve_port"]


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


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _bind(socket_: socket.socket, host: str, port: int) -> None:
    try:
        socket_.bind((host, port))
    except OSError as error:
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
