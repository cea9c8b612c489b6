"""Which connections are open, as the process's own sockets tell."""

import socket

import pytest

from rnnserve.server.connections import open_connections
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


def test_one_that_this_process_has_closed_is_not(pair):
    _, server, name = pair
    connections = OpenConnections()
    assert connections.has(name)
    server.close()
    assert not connections.has(name)
    assert not connections.has(name.rpartition(":")[0] + ":1")


def test_one_that_came_after_the_last_look_is_found(pair):
    _, _, name = pair
    connections = OpenConnections()
    assert not connections.has("ipv4:127.0.0.1:1")
    assert connections.has(name)


def test_of_those_that_were_found_no_others_are_looked_at(pair, monkeypatch):
    _, _, name = pair
    connections = OpenConnections()
    assert connections.has(name)
    monkeypatch.setattr(open_connections, "_connected", lambda: pytest.fail("looked at all"))
    assert connections.has(name)


def test_ipv4_clients_of_an_ipv6_socket_have_their_own_name():
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, listener.accept()[0]:
            assert OpenConnections().has(f"ipv4:127.0.0.1:{client.getsockname()[1]}")


@pytest.mark.parametrize("name", ["", "unix:", "unix:/run/socket", "ipv4:localhost:1", "ipv4:127.0.0.1:x", "nonsense"])
def test_what_cannot_be_read_counts_as_open(name):
    """So that nobody takes over what belongs to it."""
    assert OpenConnections().has(name)
