"""Names of servers in a list."""

import socket

import pytest

from rnnserve.client import Unavailable
from rnnserve.client.endpoint import parse_endpoint


@pytest.mark.parametrize(
    ("found", "resolved"),
    [
        ({"a": ["10.0.0.1", "10.0.0.2"], "b": ["10.0.0.2"]}, ["10.0.0.1:1", "10.0.0.2:1"]),
        ({"a": ["::1", "10.0.0.1"], "b": ["::2", "10.0.0.2"]}, ["10.0.0.1:1", "10.0.0.2:1"]),
        ({"a": ["::1"], "b": ["::2"]}, ["[::1]:1", "[::2]:1"]),
        ({"b": ["10.0.0.2"]}, ["10.0.0.2:1"]),
        ({}, []),
    ],
)
def test_host_names_in_a_list_resolve_to_addresses_of_one_kind(monkeypatch, found, resolved):
    def look_up(host, port, **_):
        if host not in found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in ip], socket.SOCK_STREAM, 0, "", (ip, port)) for ip in found[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    endpoint = parse_endpoint("a:1,b:1")
    if resolved:
        assert endpoint.resolve() == resolved
    else:
        with pytest.raises(Unavailable, match=r"cannot resolve a:1, b:1 \(a: Name or service not known\)"):
            endpoint.resolve()
