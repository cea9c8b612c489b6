"""Which connections are open, as the process's own sockets tell."""

import socket

from rnnserve.server.connections.open_connections import OpenConnections


def test_ipv4_clients_of_an_ipv6_socket_have_their_own_name():
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, listener.accept()[0]:
            assert OpenConnections().has(f"ipv4:127.0.0.1:{client.getsockname()[1]}")
