"""Natural batching, bounds and the end of the schedulers of one model and of several, without a network."""

import contextlib
import math
import threading

import numpy as np
import pytest

from kit.checked_requests import checked_request, signature
from kit.waiting import PATIENCE, until
from rnnserve.server.batching.execution import Cost, PendingRequest, longest_run
from rnnserve.server.batching.schedulers import Scheduler, Schedulers
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.batching.waiting_queue import QueueLimits
from rnnserve.server.clock import now
from rnnserve.server.errors import QueueFull, ShuttingDown


class Model:
    """Counts batches, and blocks until `may_go` is set."""

    name = "slow"
    in_steps = None
    signature = signature()

    def __init__(self, run=1.0, point=0.0):
        self.cost = Cost(run=run, step=0.0, point=point, padding=0.0)
        self.statistics = Statistics()
        self.batches: list[list[int]] = []
        self.started, self.may_go = threading.Event(), threading.Event()

    def run(self, requests):
        self.batches.append([request.steps for request in requests])
        self.started.set()
        assert self.may_go.wait(PATIENCE)
        return [{"logits": np.array([request.steps])} for request in requests]


class Caller(PendingRequest):
    """A request of one row and `number` steps."""

    connection = "one"

    def __init__(self, number: int, deadline: float = math.inf, connection: str = "one"):
        super().__init__(rows=1, steps=number, deadline=deadline, arrived=now())
        self._answered = threading.Event()
        self.connection = connection

    def origin(self):
        raise NotImplementedError

    def check(self):
        return checked_request(1, self.steps)

    def answer(self, outputs):
        assert not self._answered.is_set(), "answered twice"
        self.got, self.answered_on = outputs, threading.current_thread()
        self._answered.set()

    refuse = answer

    def is_answered(self):
        return self._answered.is_set()

    def wait(self):
        assert self._answered.wait(PATIENCE)
        return self.got


def assert_answered(*callers):
    assert [int(caller.wait()["logits"][0]) for caller in callers] == [caller.steps for caller in callers]


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def scheduler(model):
    scheduler = Scheduler(model, QueueLimits(4, math.inf))
    yield scheduler
    model.may_go.set()
    scheduler.close()


@pytest.fixture
def hold(scheduler, model):
    """Occupies the model with a request."""

    def hold():
        first = Caller(1)
        scheduler.submit(first)
        assert model.started.wait(PATIENCE)
        return first

    return hold


@contextlib.contextmanager
def scheduling(*models, requests=4):
    """Schedulers of these models, which go on at the end."""
    schedulers = Schedulers(QueueLimits(requests, math.inf))
    try:
        yield schedulers
    finally:
        for model in models:
            model.may_go.set()
        schedulers.close()


def scheduler_threads():
    """The threads of schedulers of such models. Servers of other tests start and end threads meanwhile."""
    return {thread for thread in threading.enumerate() if thread.name == f"scheduler {Model.name}"}


def test_requests_that_arrive_during_a_run_form_the_next_batch(scheduler, model, hold):
    first, later = hold(), [Caller(number) for number in (2, 3, 4)]
    for caller in later:
        scheduler.submit(caller)
    model.may_go.set()
    assert_answered(first, *later)
    assert model.batches == [[1], [2, 3, 4]]


def test_close_answers_the_queue_and_refuses_new_requests(scheduler, model, hold):
    first, second = hold(), Caller(2)
    scheduler.submit(second)
    assert not scheduler.close(timeout=0.1)  # until all have been answered
    model.may_go.set()
    assert scheduler.close(PATIENCE)
    assert_answered(first, second)
    with pytest.raises(ShuttingDown):
        scheduler.submit(Caller(3))


@pytest.mark.parametrize(("cost", "after", "is_long"), [
    (0.0, 7.0, False),
    (0.0, 9.0, True),
    (10.0, 107.0, False),  # beside ten times its cost
    (10.0, 109.0, True),
])  # fmt: skip
def test_run_is_reported_as_stuck_when_it_far_exceeds_its_cost(monkeypatch, cost, after, is_long):
    model = Model(cost)
    with scheduling(model) as schedulers:
        schedulers.submit(model, waiting := Caller(1))
        assert model.started.wait(PATIENCE)
        assert not longest_run(8.0)
        later = now() + after
        monkeypatch.setattr("rnnserve.server.batching.execution.now", lambda: later)
        assert longest_run(8.0).startswith("an inference call of slow has not ended" if is_long else "")
        assert bool(longest_run(8.0)) == is_long
        model.may_go.set()
        waiting.wait()
    assert not longest_run(0.0)


def test_stuck_model_does_not_delay_other_models():
    """Each model has its own thread from its first request on."""
    still, quick = Model(), Model()
    quick.may_go.set()
    before = scheduler_threads()
    with scheduling(still) as schedulers:
        schedulers.submit(still, first := Caller(1))
        assert still.started.wait(PATIENCE)
        schedulers.submit(quick, second := Caller(2))
        assert_answered(second)
        assert len(scheduler_threads() - before) == 2
        still.may_go.set()
        assert_answered(first)
    assert scheduler_threads() <= before
    for model in (still, Model()):
        with pytest.raises(ShuttingDown, match="slow: the server is shutting down"):
            schedulers.submit(model, Caller(3))


def test_long_requests_run_on_their_own_thread():
    """These have a queue and a thread of their own."""
    model = Model(run=0.0, point=0.01)  # 10 steps take 0.1 s
    long, others = [Caller(number) for number in (11, 12, 14)], [Caller(10), Caller(9)]
    before = scheduler_threads()
    with scheduling(model, requests=2) as schedulers:
        schedulers.submit(model, long[0])
        assert model.started.wait(PATIENCE)
        for caller in long[1:]:
            schedulers.submit(model, caller)
        with pytest.raises(QueueFull):
            schedulers.submit(model, Caller(15))
        schedulers.submit(model, others[0])
        until(lambda: model.batches == [[11], [10]])
        schedulers.submit(model, others[1])
        assert len(scheduler_threads() - before) == 2
        model.may_go.set()
        assert_answered(*long, *others)
        assert sorted(model.batches[2:]) == [[9], [12], [14]]
    assert scheduler_threads() <= before
