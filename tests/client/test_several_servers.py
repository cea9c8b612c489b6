"""Several servers: each gets its share, a lost request goes to another server, and server-side state stays there."""

import contextlib
from typing import Any

import grpc
import pytest

from kit.clients import addresses_of, ask, counts, reach_all
from kit.fakes import serving
from kit.session_models import MODELS, FailingModels
from kit.waiting import until
from rnnserve.client import Client, FailedPrecondition, InvalidRequest, Unavailable

UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE, "the server is stopping")


def test_round_robin_gives_each_server_its_share(connect, servers):
    client = connect(addresses_of(servers))
    reach_all(client, servers)
    ask(client, 30)
    assert counts(servers) == [10, 10, 10]


def test_pick_first_asks_one_server(connect, servers):
    client = connect(",".join(addresses_of(servers)), balancing="pick_first")
    ask(client, 6)
    assert counts(servers) == [6, 0, 0]


def test_unknown_balancing_is_refused():
    unknown: Any = "random"
    with pytest.raises(InvalidRequest, match="balancing must be one of round_robin, pick_first; got 'random'"):
        Client(balancing=unknown)


def test_server_that_is_not_serving_gets_nothing(connect, servers):
    client = connect(addresses_of(servers))
    reach_all(client, servers)
    servers[1].report("NOT_SERVING")

    def has_left():
        servers[1].service.calls.clear()
        ask(client, 9)
        return counts(servers)[1] == 0

    until(has_left)
    servers[1].report("SERVING")
    reach_all(client, servers)


def test_request_that_one_server_loses_goes_to_another(connect, servers):
    client = connect(addresses_of(servers))
    reach_all(client, servers)
    servers[0].service.failure = UNAVAILABLE
    ask(client, 30)
    lost, *_ = counts(servers)
    assert lost >= 10
    assert sum(counts(servers)) == 30 + lost  # each that failed was sent once more


def test_few_requests_are_sent_again_when_all_servers_fail(connect, servers):
    client = connect(addresses_of(servers))
    reach_all(client, servers)
    for each in servers:
        each.service.failure = UNAVAILABLE
    for _ in range(100):
        with pytest.raises(Unavailable, match="the server is stopping"):
            client.infer("echo", {"input": [1.0]})
    assert 100 < sum(counts(servers)) < 200  # the first ones up to four times
    for each in servers:
        each.service.failure = None
    ask(client, 9)


def test_session_with_server_side_state_stays_with_its_server():
    fakes = [FailingModels(MODELS) for _ in range(3)]
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(Client([stack.enter_context(serving(fake)) for fake in fakes]))
        sessions = [stack.enter_context(client.session("sums", state="server")) for _ in range(3)]
        for fake in fakes:
            fake.asked.clear()
        for session in sessions * 4:
            session.step([1, 1])
        assert sorted(len(fake.asked) for fake in fakes) == [0, 0, 12]  # a client uses one server for all of them
        for fake in fakes:
            fake.failures = [(grpc.StatusCode.UNAVAILABLE, False)]
        with pytest.raises(Unavailable, match="the server is stopping") as raised:
            sessions[0].step([1, 1])
        assert "states after 4 steps are lost; call reset()" in raised.value.__notes__[0]
        assert sorted(len(fake.failures) for fake in fakes) == [0, 1, 1]  # it wasn't sent again
        with pytest.raises(FailedPrecondition, match="the session is over"):
            sessions[0].step([1, 1])
