"""Natural batching, limits and failures, without a network or a model."""

import threading
import time

import numpy as np
import pytest

from rnnserve.server.batching import Cost
from rnnserve.server.boundary import Inference
from rnnserve.server.errors import Cancelled, DeadlinePassed, InternalError, QueueFull, ShuttingDown
from rnnserve.server.running import Work
from rnnserve.server.scheduler import Scheduler
from rnnserve.server.statistics import Statistics

PATIENCE = 10.0


class Model:
    """Counts batches, and stands still until it is told to go on."""

    name = "slow"
    cost = Cost(run=1.0, step=0.0, point=0.0, padding=0.0)
    statistics = Statistics()

    def __init__(self):
        self.batches: list[list[int]] = []
        self.started, self.may_go = threading.Event(), threading.Event()

    def run(self, requests):
        self.batches.append([request.sequence for request in requests])
        self.started.set()
        assert self.may_go.wait(PATIENCE)
        if any(request.sequence == 13 for request in requests):
            raise ZeroDivisionError("secret")
        return [{"logits": np.array([request.sequence])} for request in requests]


class Caller:
    def __init__(self, number: int, **more):
        self.answered = threading.Event()
        self.work = Work(Inference(1, number, number, {}, ("logits",)), self.take, **more)

    def take(self, answer):
        assert not self.answered.is_set(), "answered twice"
        self.answer = answer
        self.answered.set()

    def wait(self):
        assert self.answered.wait(PATIENCE)
        return self.answer


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def scheduler(model):
    scheduler = Scheduler(model, capacity=4)
    yield scheduler
    model.may_go.set()
    scheduler.close()


def hold(scheduler, model) -> Caller:
    """Occupy the model with one request."""
    first = Caller(1)
    scheduler.submit(first.work)
    assert model.started.wait(PATIENCE)
    return first


def test_what_arrives_during_a_run_is_the_next_batch(scheduler, model):
    first = hold(scheduler, model)
    later = [Caller(number) for number in (2, 3, 4)]
    for caller in later:
        scheduler.submit(caller.work)
    model.may_go.set()
    assert [int(caller.wait()["logits"][0]) for caller in (first, *later)] == [1, 2, 3, 4]
    assert model.batches == [[1], [2, 3, 4]]


def test_a_full_queue_refuses_at_once(scheduler, model):
    hold(scheduler, model)
    waiting = [Caller(number) for number in range(2, 6)]
    for caller in waiting:
        scheduler.submit(caller.work)
    with pytest.raises(QueueFull, match="slow: 4 requests wait already"):
        scheduler.submit(Caller(6).work)
    model.may_go.set()
    for caller in waiting:
        assert isinstance(caller.wait(), dict)


def test_nobody_runs_for_those_who_have_gone(scheduler, model):
    hold(scheduler, model)
    late, gone, there = Caller(2, deadline=time.monotonic() - 1), Caller(3), Caller(4, deadline=time.monotonic() + 60)
    for caller in (late, gone, there):
        scheduler.submit(caller.work)
    gone.work.cancelled = True
    model.may_go.set()
    assert isinstance(late.wait(), DeadlinePassed)
    assert isinstance(gone.wait(), Cancelled)
    assert isinstance(there.wait(), dict)
    assert model.batches == [[1], [4]]


def test_a_failing_run_tells_an_id_and_the_next_one_runs(scheduler, model, caplog):
    model.may_go.set()
    failing, next_one = Caller(13), Caller(2)
    scheduler.submit(failing.work)
    error = failing.wait()
    assert isinstance(error, InternalError)
    assert "secret" not in str(error)
    error_id = str(error).split()[2].rstrip(":")
    assert error_id in caplog.text
    assert "secret" in caplog.text
    scheduler.submit(next_one.work)
    assert isinstance(next_one.wait(), dict)


def test_closing_answers_what_waits_and_takes_nothing_new(model):
    scheduler = Scheduler(model, capacity=4)
    first = hold(scheduler, model)
    second = Caller(2)
    scheduler.submit(second.work)
    closing = threading.Thread(target=scheduler.close)
    closing.start()
    model.may_go.set()
    closing.join(PATIENCE)
    assert not closing.is_alive()
    assert isinstance(first.wait(), dict)
    assert isinstance(second.wait(), dict)
    with pytest.raises(ShuttingDown):
        scheduler.submit(Caller(3).work)
