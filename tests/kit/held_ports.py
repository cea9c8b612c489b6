"""Ports on which servers of a test listen, end, and listen again, and which nobody else is given meanwhile."""

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def held_port() -> Iterator[int]:
    """Hold a port of 127.0.0.1 on which this process does not listen.

    One that is free at one moment may be some other process's at the next. With SO_REUSEADDR, which gRPC sets, too, a
    server may listen beside the socket that holds it; where none does, connections are refused.
    """
    with socket.socket() as holding:
        holding.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holding.bind(("127.0.0.1", 0))
        yield holding.getsockname()[1]
