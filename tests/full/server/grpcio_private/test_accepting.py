"""More of the calls that wait in gRPC's core are asked for at once, and each is noted as due as often as it is."""

import threading
from types import SimpleNamespace

import pytest
from grpc import _server as grpcio_server

from rnnserve.server.grpcio_private.accepting import Accepting

TAG = grpcio_server._REQUEST_CALL_TAG


class Core:
    """grpcio's core server, which counts what it is asked for."""

    def __init__(self):
        self.asked = 0

    def request_call(self, *_):
        self.asked += 1

    def start(self):
        return "started"


@pytest.fixture
def core():
    return Core()


@pytest.fixture
def server(core):
    state = SimpleNamespace(server=core, lock=threading.RLock(), completion_queue=object(), due=set())
    return SimpleNamespace(_state=state)


def ask_as_grpcio(state):
    state.server.request_call(state.completion_queue, state.completion_queue, TAG)
    state.due.add(TAG)


def call_comes(state):
    state.due.remove(TAG)
    ask_as_grpcio(state)


def accepting(server, in_hand=10, capacity=1000):
    return Accepting(server, lambda: in_hand, lambda: 0, capacity)


def test_those_asked_for_beyond_the_first_are_asked_for_once(server, core):
    more, state = accepting(server), server._state
    ask_as_grpcio(state)
    more.ask(5)
    assert (core.asked, len(state.due)) == (6, 6)
    more.ask(5)
    assert core.asked == 6, "those of before have not come"
    for left in (5, 4, 3, 2, 1):
        call_comes(state)
        assert (core.asked, len(state.due)) == (6, left)
    call_comes(state)
    assert (core.asked, len(state.due)) == (7, 1), "as without"
    more.ask(5)
    assert core.asked == 12
