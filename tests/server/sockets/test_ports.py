"""Ports are tried before gRPC binds them, and reserved for workers to share."""

import socket

import pytest

from rnnserve.server.errors import StartError
from rnnserve.server.sockets.ports import probe_port, reserve_port

PATIENCE = 20.0


def test_a_port_that_another_holds_is_refused():
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{port}"), reserve_port("127.0.0.1", port):
            pass


def test_a_reserved_port_is_shared_with_those_who_share():
    with reserve_port("127.0.0.1", 0) as port, socket.socket() as worker:
        worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        worker.bind(("127.0.0.1", port))
        worker.listen()
        with socket.create_connection(("127.0.0.1", port)):
            worker.settimeout(PATIENCE)
            accepted, _ = worker.accept()
            accepted.close()


@pytest.mark.parametrize("shares", [False, True])
def test_connections_that_an_ended_server_has_left_do_not_keep_the_port(shares):
    """Whichever kind of server it was, and whichever comes: one that shares its port, or one that does not."""
    with socket.socket() as before:
        before.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC does
        before.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shares)
        before.bind(("127.0.0.1", 0))
        before.listen()
        port = before.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = before.accept()
    accepted.close()  # first, so that the server's end is in TIME_WAIT
    client.close()
    probe_port("127.0.0.1", port)
    with reserve_port("127.0.0.1", port) as reserved:
        assert reserved == port
