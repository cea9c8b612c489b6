"""Workers change what they serve together: all of them, or none; one change at a time, whoever dies in the middle."""

import pytest

from rnnserve.server.repository.pins import ModelPins, Pin
from rnnserve.server.workers.joint_loading import Change, Coordinator
from rnnserve.server.workers.messages import (
    Abandon,
    Adopt,
    Adopted,
    Cannot,
    Done,
    Failed,
    Prepare,
    Prepared,
    Proposal,
    Propose,
    Release,
    Turn,
    Want,
)

PATIENCE = 20.0


class FakeWorker:
    """A worker's place, which keeps what it is told."""

    def __init__(self, number):
        self.number, self.pid = number, 100 + number
        self.is_ready, self.is_about_to_listen = True, False
        self.serves_all = True
        self.told, self.saying, self.killed = [], [], 0

    def take_said(self):
        said, self.saying = self.saying, []
        return said

    def tell(self, message):
        self.told.append(message)

    def kill(self):
        self.killed += 1

    def says(self, *messages):
        self.saying += messages

    def hears(self):
        told, self.told = self.told, []
        return told


@pytest.fixture
def workers():
    return [FakeWorker(number) for number in range(3)]


@pytest.fixture
def coordinator(workers):
    return Coordinator(workers, None, PATIENCE)


FOUND = (("a", 2, {"is_cut": True}),)
PINS = {"a": ModelPins({2: Pin("d" * 64)})}
PROPOSAL = Proposal(("a",), PINS, FOUND)


def propose(coordinator, workers):
    """The first worker asks, loads, and proposes; the others are told to prepare."""
    first, *others = workers
    first.says(Want())
    assert coordinator.step() is None
    assert first.hears() == [Turn()]
    first.says(Propose(PROPOSAL))
    assert coordinator.step() is None
    assert [other.hears() for other in others] == [[Prepare(PROPOSAL)]] * len(others)


def test_all_adopt_what_one_proposes_after_all_have_loaded_it(coordinator, workers):
    first, second, third = workers
    propose(coordinator, workers)
    second.says(Prepared())
    assert coordinator.step() is None
    assert [worker.hears() for worker in workers] == [[], [], []]
    third.says(Prepared())
    assert coordinator.step() == Change(("a",), PINS, [second, third, first])
    assert [worker.hears() for worker in workers] == [[Adopt()]] * 3
    first.says(Adopted())
    second.says(Adopted())
    assert coordinator.step() is None
    assert first.hears() == []
    third.says(Adopted())
    coordinator.step()
    assert first.hears() == [Done()]
    assert [worker.killed for worker in workers] == [0, 0, 0]


def test_none_adopts_what_one_could_not_load(coordinator, workers):
    first, second, third = workers
    propose(coordinator, workers)
    second.says(Prepared())
    third.says(Cannot("a version 2: model.onnx: is missing"))
    assert coordinator.step() is None
    assert (second.hears(), third.hears()) == ([Abandon()], [Abandon()])
    assert first.hears() == [Failed("worker 2: a version 2: model.onnx: is missing")]
    first.says(Release())
    coordinator.step()
    propose(coordinator, workers)  # again
