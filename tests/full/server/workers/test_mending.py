"""A worker that serves less than the others is asked from time to time whether it can serve the same again."""

import types

import pytest

from rnnserve.server.repository.pins import ModelPins, Pin
from rnnserve.server.workers import mending
from rnnserve.server.workers.mending import Mending
from rnnserve.server.workers.messages import Adopt, Adopted, Mend, Prepared, Proposal

TIMEOUT = 100.0


def pins(**versions):
    return {name: ModelPins({number: Pin(f"d{number}")}) for name, number in versions.items()}


class FakeWorker:
    def __init__(self, number, pins):
        self.number, self.pid, self.is_ready, self.pins = number, 100 + number, True, pins
        self.told = []

    def tell(self, message):
        self.told.append(message)

    def serves(self, pins):
        self.pins = pins

    def hears(self):
        told, self.told = self.told, []
        return told

    def kinds(self):
        return [type(message) for message in self.hears()]


@pytest.fixture
def clock(monkeypatch):
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(mending, "time", types.SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def workers():
    return [FakeWorker(0, pins(a=2, b=2)), FakeWorker(1, pins(a=1, b=2)), FakeWorker(2, pins(a=1))]


ALL = pins(a=2, b=2)


def test_one_after_another_they_load_what_they_lack_and_then_serve_it(workers, clock):
    mender = Mending(workers, TIMEOUT)
    mender.step(ALL, may_begin=True)
    assert mender.is_under_way
    assert not workers[0].told
    assert not workers[2].told
    assert [mender.is_of(worker) for worker in workers] == [False, True, False]
    mender.take(workers[1], Prepared())
    assert workers[1].hears() == [Mend(Proposal(("a",), ALL)), Adopt()]
    assert mender.is_under_way
    mender.take(workers[1], Adopted())
    assert not mender.is_under_way
    assert not mender.is_of(workers[1])
    assert workers[1].pins == ALL
    clock.now += 10
    mender.step(ALL, may_begin=True)
    assert workers[2].told == [Mend(Proposal(("a", "b"), ALL))]
