"""Hedged requests: a second server gets a request that takes long, but only a few of them."""

import threading

from kit.clients import addresses_of, ask, counts, reach_all


def test_slow_server_s_requests_are_answered_by_the_next(connect, servers):
    client = connect(addresses_of(servers[:2]), hedge_after=0.05)
    reach_all(client, servers[:2])
    servers[0].service.blocked = threading.Event()
    ask(client, 6)
    slow, other = counts(servers[:2])
    assert other == 6
    assert slow >= 3


def test_few_requests_are_hedged_when_every_server_is_slow(connect, servers):
    client = connect(addresses_of(servers), hedge_after=1e-6)
    reach_all(client, servers)
    ask(client, 60)
    assert 60 <= sum(counts(servers)) <= 60 + 6 + 10
