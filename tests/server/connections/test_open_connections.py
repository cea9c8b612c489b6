"""Which connections are open, as the process's own sockets tell."""

import socket

import pytest

from rnnserve.server.connections.open_connections import OpenConnections


@pytest.fixture(
    params=[(socket.AF_INET, "127.0.0.1", "ipv4:127.0.0.1:{}"), (socket.AF_INET6, "::1", "ipv6:%5B::1%5D:{}")]
)
def pair(request):
    """A connection's both ends, and the name that gRPC has for the client's."""
    family, host, name = request.param
    with socket.socket(family) as listener:
        try:
            listener.bind((host, 0))
        except OSError:
            pytest.skip(f"no {host} here")
        listener.listen()
        with socket.create_connection(listener.getsockname()[:2]) as client, listener.accept()[0] as server:
            yield client, server, name.format(client.getsockname()[1])


def test_a_connection_is_open_until_either_side_closes_it(pair):
    client, _, name = pair
    connections = OpenConnections()
    assert connections.has(name)
    assert connections.has(name)
    client.shutdown(socket.SHUT_WR)
    assert not connections.has(name)


def test_one_that_came_after_the_last_look_is_found(pair):
    _, _, name = pair
    connections = OpenConnections()
    assert not connections.has("ipv4:127.0.0.1:1")
    assert connections.has(name)


@pytest.mark.parametrize("name", ["", "unix:", "unix:/run/socket", "ipv4:localhost:1", "ipv4:127.0.0.1:x", "nonsense"])
def test_what_cannot_be_read_counts_as_open(name):
    """So that nobody takes over what belongs to it."""
    assert OpenConnections().has(name)
