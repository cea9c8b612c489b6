"""Requests that take long are sent to a second server, few of them, and one answer counts."""

import threading

import grpc
import pytest

from rnnserve.client import Client, InvalidRequest

from .fleet import ask, asked, listed, reach_all


def test_a_slow_server_is_hedged_and_its_call_ended(connect, servers):
    client = connect(listed(servers[:2]), hedge_after=0.05)
    reach_all(client, servers[:2])
    servers[0].service.blocked = threading.Event()
    for each in servers[:2]:
        each.service.calls.clear()
    ask(client, 6)
    assert servers[1].asked == 6
    assert servers[0].asked >= 3


def test_few_calls_are_hedged(connect, servers, monkeypatch):
    """Where every server is slow, a second call for each would make all of them slower."""
    client = connect(listed(servers), hedge_after=1e-6)
    reach_all(client, servers)
    client.infer("echo", {"input": [1.0]})
    for each in servers:
        each.service.calls.clear()
    ask(client, 60)
    assert 60 <= sum(asked(servers)) <= 60 + 6 + 10


def test_the_error_of_a_hedged_call_is_the_servers(connect, servers):
    client = connect(listed(servers), hedge_after=1e-6)
    for each in servers:
        each.service.failure = (grpc.StatusCode.INVALID_ARGUMENT, "refused")
    with pytest.raises(InvalidRequest, match="refused"):
        client.infer("echo", {"input": [1.0]})
    with pytest.raises(InvalidRequest, match="hedge_after 0: expected seconds above 0"):
        Client(hedge_after=0)
