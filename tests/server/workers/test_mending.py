"""A worker that serves less than the others is asked from time to time whether it can serve the same again."""

import itertools
import types

import pytest

from rnnserve.server.repository.pins import ModelPins, Pin
from rnnserve.server.workers import mending
from rnnserve.server.workers.mending import Mending
from rnnserve.server.workers.messages import Abandon, Adopt, Adopted, Cannot, Mend, Prepared, Proposal

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


def test_one_that_cannot_is_asked_again_ever_more_rarely(workers, clock):
    del workers[2]
    mender, asked = Mending(workers, TIMEOUT), []
    while clock.now < 600:
        mender.step(ALL, may_begin=True)
        if workers[1].told:
            workers[1].told.clear()
            asked.append(clock.now)
            mender.take(workers[1], Cannot("a: is missing"))
        clock.now += 1
    waits = [after - before for before, after in itertools.pairwise(asked)]
    assert waits[0] < 10
    assert waits == sorted(waits)
    assert waits[-1] == 60
    mender.begin_soon()
    clock.now += 3
    mender.step(ALL, may_begin=True)
    assert workers[1].kinds() == [Mend]


def test_none_is_asked_while_another_change_is_under_way_or_where_all_agree(workers, clock):
    mender = Mending(workers, TIMEOUT)
    mender.step(ALL, may_begin=False)
    mender.step(pins(), may_begin=True)
    clock.now += 10
    for worker in workers:
        worker.pins = ALL
    mender.step(ALL, may_begin=True)
    assert [worker.kinds() for worker in workers] == [[], [], []]


@pytest.mark.parametrize("end", ["dies", "hangs"])
def test_one_that_never_answers_does_not_keep_others_from_changes(workers, clock, end):
    mender = Mending(workers, TIMEOUT)
    mender.step(ALL, may_begin=True)
    assert mender.is_under_way
    if end == "dies":
        workers[1].pid = 777
    else:
        clock.now += TIMEOUT + 1
    mender.step(ALL, may_begin=True)
    assert not mender.is_under_way
    assert workers[1].kinds() == [Mend] + [Abandon] * (end == "hangs")
    assert not mender.is_of(workers[1])
