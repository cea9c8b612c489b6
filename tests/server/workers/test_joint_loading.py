"""Workers change what they serve together: all of them, or none; one change at a time, whoever dies in the middle."""

import queue
import threading
from concurrent import futures
from typing import Any

import pytest

from rnnserve.server.errors import LoadFailed, ShuttingDown
from rnnserve.server.repository.pins import ModelPins, Pin
from rnnserve.server.workers.joint_loading import Change, Coordinator, WorkerAgreement
from rnnserve.server.workers.messages import (
    Abandon,
    Adopt,
    Adopted,
    Cannot,
    Done,
    Failed,
    Look,
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


def test_the_others_wait_for_their_turn(coordinator, workers):
    first, second, third = workers
    for worker in workers:
        worker.says(Want())
    coordinator.step()
    assert [worker.hears() for worker in workers] == [[Turn()], [], []]
    first.says(Release())
    coordinator.step()
    coordinator.step()
    assert [worker.hears() for worker in workers] == [[], [Turn()], []]
    second.pid = 777  # it died
    coordinator.step()
    coordinator.step()
    assert third.hears() == [Turn()]


def test_a_worker_that_dies_while_the_others_load_counts_no_more(coordinator, workers):
    first, second, third = workers
    propose(coordinator, workers)
    second.pid, second.is_ready = 777, False
    third.says(Prepared())
    assert coordinator.step() == Change(("a",), PINS, [third, first])
    assert (first.hears(), third.hears()) == ([Adopt()], [Adopt()])
    assert second.killed == 1  # the one in its place loads what was served before


def test_a_worker_that_comes_meanwhile_loads_it_too(coordinator, workers):
    first, second, third = workers
    third.is_ready = False
    third.is_about_to_listen = True
    first.says(Want())
    coordinator.step()
    first.says(Propose(PROPOSAL))
    coordinator.step()
    second.says(Prepared())
    assert coordinator.step() is None
    third.is_ready, third.is_about_to_listen = True, False
    assert coordinator.step() is None
    assert third.hears() == [Prepare(PROPOSAL)]
    third.says(Prepared())
    assert coordinator.step() == Change(("a",), PINS, [second, third, first])


def test_where_the_one_that_proposed_dies_none_adopts(coordinator, workers):
    first, second, third = workers
    propose(coordinator, workers)
    first.pid = 777
    coordinator.step()
    assert (second.hears(), third.hears()) == ([Abandon()], [Abandon()])
    second.says(Want())
    coordinator.step()
    coordinator.step()
    assert second.hears() == [Turn()]


def test_where_it_dies_after_all_have_loaded_the_others_adopt(coordinator, workers):
    first, second, third = workers
    propose(coordinator, workers)
    second.says(Prepared())
    third.says(Prepared())
    assert coordinator.step() is not None
    first.pid = 777
    second.says(Adopted(), Want())
    third.says(Adopted())
    for _ in range(3):
        coordinator.step()
    assert second.hears() == [Prepare(PROPOSAL), Adopt(), Turn()][1:]


def test_those_that_take_too_long_are_not_waited_for(workers):
    coordinator = Coordinator(workers, None, 0.0)
    propose_only = workers[0]
    propose_only.says(Want())
    coordinator.step()
    propose_only.says(Propose(PROPOSAL))
    coordinator.step()
    assert propose_only.hears() == [Turn(), Failed("the other workers did not load it within 0 s")]


def test_one_worker_looks_at_the_repository_for_all(workers):
    coordinator = Coordinator(workers, 0.0, PATIENCE)
    workers[0].is_ready = False
    coordinator.step()
    assert [worker.hears() for worker in workers] == [[], [Look()], []]
    coordinator.step()
    assert [worker.hears() for worker in workers] == [[], [], []]
    workers[1].says(Release())
    coordinator.step()
    coordinator.step()
    assert workers[1].hears() == [Look()]


def test_one_that_serves_less_than_the_others_does_not_look_for_them(workers):
    """They would come to serve as little: what it proposes is what it has."""
    coordinator = Coordinator(workers, 0.0, PATIENCE)
    workers[0].serves_all = False
    coordinator.step()
    assert [worker.hears() for worker in workers] == [[], [Look()], []]
    workers[1].says(Release())
    workers[1].serves_all = workers[2].serves_all = False
    coordinator.step()
    coordinator.step()
    assert workers[0].hears() == [Look()]  # all do


class FakeLive:
    """Keeps what is asked for, and lets it succeed but for what is named."""

    def __init__(self, fails=()):
        self.asked = []
        self._fails = fails

    def __getattr__(self, name):
        def ask(*args):
            self.asked.append((name, *args))
            done = futures.Future()
            if name in self._fails:
                done.set_exception(LoadFailed("a version 2: is missing"))
            else:
                done.set_result(None)
            return done

        return ask


def following(**more):
    """A worker's agreement, and what it says."""
    said = queue.SimpleQueue()
    agreement = WorkerAgreement(said.put)
    live: Any = FakeLive(**more)
    agreement.follow(live)
    return agreement, live, said


def test_a_worker_that_changes_something_waits_for_the_others():
    agreement, _, said = following()
    steps = []

    def change():
        with agreement.turn():
            agreement.propose(["a"], PINS, FOUND)
            steps.append("adopts")
            agreement.adopted()
            steps.append("is done")

    thread = threading.Thread(target=change)
    thread.start()
    assert said.get(timeout=PATIENCE) == Want()
    agreement.take(Turn())
    assert said.get(timeout=PATIENCE) == Propose(PROPOSAL)
    assert steps == []
    agreement.take(Adopt())
    assert said.get(timeout=PATIENCE) == Adopted()
    assert steps == ["adopts"]
    agreement.take(Done())
    assert said.get(timeout=PATIENCE) == Release()
    thread.join(PATIENCE)
    assert steps == ["adopts", "is done"]


@pytest.mark.parametrize(("fails", "answer"), [((), Prepared()), (("prepare",), Cannot("a version 2: is missing"))])
def test_a_worker_loads_what_another_proposes(fails, answer):
    proposing, _, proposed = following()
    threading.Thread(target=lambda: proposing.propose(["a"], PINS, FOUND), daemon=True).start()
    agreement, live, said = following(fails=fails)
    agreement.take(Prepare(proposed.get(timeout=PATIENCE).proposal))
    assert said.get(timeout=PATIENCE) == answer
    assert live.asked == [("prepare", ("a",), PINS, FOUND)]
    agreement.take(Adopt())
    assert said.get(timeout=PATIENCE) == Adopted()
    agreement.take(Abandon())
    agreement.take(Look())
    assert said.get(timeout=PATIENCE) == Release()
    assert [name for name, *_ in live.asked] == ["prepare", "adopt", "abandon", "look"]


def test_a_change_that_the_others_cannot_make_fails_and_so_does_one_that_is_not_allowed():
    agreement, _, said = following()
    agreement.take(Turn())
    agreement.take(Failed("worker 1: a version 2: is missing"))
    with pytest.raises(LoadFailed, match=r"^worker 1: a version 2: is missing$"), agreement.turn():
        agreement.propose(["a"], PINS, FOUND)
    assert [said.get(timeout=PATIENCE) for _ in range(3)] == [Want(), Propose(PROPOSAL), Release()]
    agreement.take(Failed("the workers are being replaced: ask again"))
    with pytest.raises(LoadFailed, match=r"^the workers are being replaced: ask again$"), agreement.turn():
        pass


def test_what_waits_ends_with_the_worker():
    agreement, *_ = following()
    threading.Timer(0.1, agreement.close).start()
    with pytest.raises(ShuttingDown), agreement.turn():
        pass
