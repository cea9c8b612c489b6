"""Workers change what they serve together: all of them, or none; one change at a time, whoever dies in the middle."""

import queue
import threading
from concurrent import futures
from typing import Any

import pytest

from rnnserve.server.errors import LoadFailed, ShuttingDown
from rnnserve.server.repository.pins import ModelPins, Pin
from rnnserve.server.workers.joint_loading import Change, Coordinator, WorkerAgreement

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

    def tell(self, line):
        self.told.append(line)

    def kill(self):
        self.killed += 1

    def says(self, *lines):
        self.saying += lines

    def hears(self):
        told, self.told = self.told, []
        return told


@pytest.fixture
def workers():
    return [FakeWorker(number) for number in range(3)]


@pytest.fixture
def coordinator(workers):
    return Coordinator(workers, None, PATIENCE)


PROPOSAL = '{"names": ["a"], "pins": "PINS"}'


def propose(coordinator, workers):
    """The first worker asks, loads, and proposes; the others are told to prepare."""
    first, *others = workers
    first.says("want")
    assert coordinator.step() is None
    assert first.hears() == ["turn"]
    first.says(f"propose {PROPOSAL}")
    assert coordinator.step() is None
    assert [other.hears() for other in others] == [[f"prepare {PROPOSAL}"]] * len(others)


def test_all_adopt_what_one_proposes_after_all_have_loaded_it(coordinator, workers):
    first, second, third = workers
    propose(coordinator, workers)
    second.says("prepared")
    assert coordinator.step() is None
    assert [worker.hears() for worker in workers] == [[], [], []]
    third.says("prepared")
    assert coordinator.step() == Change(["a"], "PINS", [second, third, first])
    assert [worker.hears() for worker in workers] == [["adopt"]] * 3
    first.says("adopted")
    second.says("adopted")
    assert coordinator.step() is None
    assert first.hears() == []
    third.says("adopted")
    coordinator.step()
    assert first.hears() == ["done"]
    assert [worker.killed for worker in workers] == [0, 0, 0]


def test_none_adopts_what_one_could_not_load(coordinator, workers):
    first, second, third = workers
    propose(coordinator, workers)
    second.says("prepared")
    third.says("cannot a version 2: model.onnx: is missing")
    assert coordinator.step() is None
    assert (second.hears(), third.hears()) == (["abandon"], ["abandon"])
    assert first.hears() == ["failed worker 2: a version 2: model.onnx: is missing"]
    first.says("release")
    coordinator.step()
    propose(coordinator, workers)  # again


def test_the_others_wait_for_their_turn(coordinator, workers):
    first, second, third = workers
    for worker in workers:
        worker.says("want")
    coordinator.step()
    assert [worker.hears() for worker in workers] == [["turn"], [], []]
    first.says("release")
    coordinator.step()
    coordinator.step()
    assert [worker.hears() for worker in workers] == [[], ["turn"], []]
    second.pid = 777  # it died
    coordinator.step()
    coordinator.step()
    assert third.hears() == ["turn"]


def test_a_worker_that_dies_while_the_others_load_counts_no_more(coordinator, workers):
    first, second, third = workers
    propose(coordinator, workers)
    second.pid, second.is_ready = 777, False
    third.says("prepared")
    assert coordinator.step() == Change(["a"], "PINS", [third, first])
    assert (first.hears(), third.hears()) == (["adopt"], ["adopt"])
    assert second.killed == 1  # the one in its place loads what was served before


def test_a_worker_that_comes_meanwhile_loads_it_too(coordinator, workers):
    first, second, third = workers
    third.is_ready = False
    third.is_about_to_listen = True
    first.says("want")
    coordinator.step()
    first.says(f"propose {PROPOSAL}")
    coordinator.step()
    second.says("prepared")
    assert coordinator.step() is None
    third.is_ready, third.is_about_to_listen = True, False
    assert coordinator.step() is None
    assert third.hears() == [f"prepare {PROPOSAL}"]
    third.says("prepared")
    assert coordinator.step() == Change(["a"], "PINS", [second, third, first])


def test_where_the_one_that_proposed_dies_none_adopts(coordinator, workers):
    first, second, third = workers
    propose(coordinator, workers)
    first.pid = 777
    coordinator.step()
    assert (second.hears(), third.hears()) == (["abandon"], ["abandon"])
    second.says("want")
    coordinator.step()
    coordinator.step()
    assert second.hears() == ["turn"]


def test_where_it_dies_after_all_have_loaded_the_others_adopt(coordinator, workers):
    first, second, third = workers
    propose(coordinator, workers)
    second.says("prepared")
    third.says("prepared")
    assert coordinator.step() is not None
    first.pid = 777
    second.says("adopted", "want")
    third.says("adopted")
    for _ in range(3):
        coordinator.step()
    assert second.hears() == [f"prepare {PROPOSAL}", "adopt", "turn"][1:]


def test_those_that_take_too_long_are_not_waited_for(workers):
    coordinator = Coordinator(workers, None, 0.0)
    propose_only = workers[0]
    propose_only.says("want")
    coordinator.step()
    propose_only.says(f"propose {PROPOSAL}")
    coordinator.step()
    assert propose_only.hears() == ["turn", "failed the other workers did not load it within 0 s"]


def test_one_worker_looks_at_the_repository_for_all(workers):
    coordinator = Coordinator(workers, 0.0, PATIENCE)
    workers[0].is_ready = False
    coordinator.step()
    assert [worker.hears() for worker in workers] == [[], ["look"], []]
    coordinator.step()
    assert [worker.hears() for worker in workers] == [[], [], []]
    workers[1].says("release")
    coordinator.step()
    coordinator.step()
    assert workers[1].hears() == ["look"]


def test_one_that_serves_less_than_the_others_does_not_look_for_them(workers):
    """They would come to serve as little: what it proposes is what it has."""
    coordinator = Coordinator(workers, 0.0, PATIENCE)
    workers[0].serves_all = False
    coordinator.step()
    assert [worker.hears() for worker in workers] == [[], ["look"], []]
    workers[1].says("release")
    workers[1].serves_all = workers[2].serves_all = False
    coordinator.step()
    coordinator.step()
    assert workers[0].hears() == ["look"]  # all do


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
    """A worker's agreement, what it says, and what tells it something."""
    said, orders = queue.SimpleQueue(), queue.SimpleQueue()
    agreement = WorkerAgreement(said.put)
    live: Any = FakeLive(**more)
    agreement.follow(orders, live)
    return agreement, live, said, orders


FOUND = [["a", 2, {"is_cut": True}]]
PINS = {"a": ModelPins({2: Pin("d" * 64)})}


def test_a_worker_that_changes_something_waits_for_the_others():
    agreement, _, said, orders = following()
    steps = []

    def change():
        with agreement.turn():
            agreement.propose(["a"], PINS, FOUND)
            steps.append("adopts")
            agreement.adopted()
            steps.append("is done")

    thread = threading.Thread(target=change)
    thread.start()
    assert said.get(timeout=PATIENCE) == "want"
    orders.put("turn")
    assert said.get(timeout=PATIENCE).startswith('propose {"names": ["a"], "pins": ')
    assert steps == []
    orders.put("adopt")
    assert said.get(timeout=PATIENCE) == "adopted"
    assert steps == ["adopts"]
    orders.put("done")
    assert said.get(timeout=PATIENCE) == "release"
    thread.join(PATIENCE)
    assert steps == ["adopts", "is done"]


@pytest.mark.parametrize(("fails", "answer"), [((), "prepared"), (("prepare",), "cannot a version 2: is missing")])
def test_a_worker_loads_what_another_proposes(fails, answer):
    proposing, _, proposed, _ = following()
    threading.Thread(target=lambda: proposing.propose(["a"], PINS, FOUND), daemon=True).start()
    _, live, said, orders = following(fails=fails)
    orders.put("prepare " + proposed.get(timeout=PATIENCE).removeprefix("propose "))
    assert said.get(timeout=PATIENCE) == answer
    assert live.asked == [("prepare", ["a"], PINS, FOUND)]
    orders.put("adopt")
    assert said.get(timeout=PATIENCE) == "adopted"
    orders.put("abandon")
    orders.put("look")
    assert said.get(timeout=PATIENCE) == "release"
    assert [name for name, *_ in live.asked] == ["prepare", "adopt", "abandon", "look"]


def test_a_change_that_the_others_cannot_make_fails_and_so_does_one_that_is_not_allowed():
    agreement, _, said, orders = following()
    orders.put("turn")
    orders.put("failed worker 1: a version 2: is missing")
    with pytest.raises(LoadFailed, match=r"^worker 1: a version 2: is missing$"), agreement.turn():
        agreement.propose(["a"], PINS, FOUND)
    assert [said.get(timeout=PATIENCE).partition(" ")[0] for _ in range(3)] == ["want", "propose", "release"]
    orders.put("failed the workers are being replaced: ask again")
    with pytest.raises(LoadFailed, match=r"^the workers are being replaced: ask again$"), agreement.turn():
        pass


def test_what_waits_ends_with_the_worker():
    agreement, *_ = following()
    threading.Timer(0.1, agreement.close).start()
    with pytest.raises(ShuttingDown), agreement.turn():
        pass
