"""Schedulers whose runs another thread makes, that has borrowed them: on a model of numpy, running sums."""

import random
import threading

import numpy as np
import pytest

from rnnserve.server.batching.cost import Cost
from rnnserve.server.batching.scheduler import Scheduler
from rnnserve.server.batching.schedulers import Schedulers
from rnnserve.server.batching.waiting_limits import WaitingLimits
from rnnserve.server.errors import ShuttingDown
from support.running_sums import Caller, Sums, any_request, assert_as_whole, request_of
from support.waiting import PATIENCE, until

LIMITS = WaitingLimits(requests=1000, seconds=1e9)
STEP = Cost(run=0.0, step=1e-3, point=0.0, padding=0.0)


class Placed(Caller):
    """A caller that says on which thread it was answered."""

    def answer(self, outputs):
        super().answer(outputs)
        self.thread = threading.current_thread()


def sums(cost=STEP, *, has_lengths=False):
    model = Sums(cost=cost, has_lengths=has_lengths)
    model.in_steps = model
    return model


def callers(model, count=40, seed=0):
    draw = random.Random(seed)
    return [Placed(any_request(model, draw)) for _ in range(count)]


@pytest.fixture
def model():
    return sums()


@pytest.fixture
def scheduler(model):
    scheduler = Scheduler(model, LIMITS)
    yield scheduler
    scheduler.close()


def test_the_borrower_makes_all_runs_and_answers(model, scheduler):
    assert scheduler.borrow()
    several = callers(model)
    for caller in several:
        scheduler.submit(caller)
    while scheduler.work():
        pass
    scheduler.give_back()
    for caller in several:
        assert_as_whole(model, caller)
        assert caller.thread is threading.current_thread()
    assert not scheduler.is_busy


@pytest.mark.parametrize("ends", ["give_back", "close"])
def test_what_is_left_is_run_on_the_schedulers_own_thread(model, scheduler, ends):
    assert scheduler.borrow()
    several = callers(model)
    for caller in several:
        scheduler.submit(caller)
    assert scheduler.work()
    if ends == "close":
        assert scheduler.close(PATIENCE)
    else:
        scheduler.give_back()
    until(lambda: all(caller.outcomes for caller in several))
    assert not scheduler.work(), "it is borrowed no more"
    for caller in several:
        assert_as_whole(model, caller)


def test_requests_that_may_not_be_cut_are_left_to_the_schedulers_own_thread():
    model = sums(has_lengths=True)
    scheduler = Scheduler(model, LIMITS)
    draw = random.Random(0)
    ragged = request_of(model, draw, 2, 30, ("uncut",), lengths=np.array([30, 4]))
    cut, whole = Placed(request_of(model, draw, steps=30)), Placed(ragged)
    assert scheduler.borrow()
    scheduler.submit(whole)
    scheduler.submit(cut)
    while scheduler.work():
        pass
    assert scheduler.close(PATIENCE)
    assert whole.thread is not threading.current_thread()
    for caller in (cut, whole):
        assert_as_whole(model, caller)


@pytest.mark.parametrize("why", ["run whole", "a step takes long", "it runs", "it is closed"])
def test_a_scheduler_is_not_lent_where_a_run_may_take_long_or_runs(why, monkeypatch):
    model = Sums() if why == "run whole" else sums(Cost(0.0, 0.02, 0.0, 0.0) if why == "a step takes long" else STEP)
    runs, may_go = threading.Event(), threading.Event()
    run_arrays = model.run_arrays

    def held(*args):
        runs.set()
        assert may_go.wait(PATIENCE)
        return run_arrays(*args)

    monkeypatch.setattr(model, "run_arrays", held)
    scheduler = Scheduler(model, LIMITS)
    try:
        if why == "it runs":
            scheduler.submit(Placed(request_of(model, random.Random(0), steps=30)))
            assert runs.wait(PATIENCE)
        elif why == "it is closed":
            assert scheduler.close(PATIENCE)
        assert not scheduler.borrow()
    finally:
        may_go.set()
        assert scheduler.close(PATIENCE)


def test_no_other_thread_runs_its_request_while_a_scheduler_is_borrowed(model, scheduler):
    caller = Placed(request_of(model, random.Random(0), steps=3))
    assert scheduler.borrow()
    scheduler.submit(caller, may_run_now=True)
    assert not caller.outcomes
    assert scheduler.work()
    assert_as_whole(model, caller)


def test_a_scheduler_is_borrowed_where_no_other_has_anything_to_do(model):
    schedulers, other, may_go = Schedulers(LIMITS), sums(), threading.Event()
    other.run_arrays = lambda *args: may_go.wait(PATIENCE) and Sums.run_arrays(other, *args)
    draw = random.Random(0)
    one, long = Placed(request_of(model, draw, steps=3)), Placed(request_of(other, draw, steps=30))
    schedulers.submit(other, long)
    assert schedulers.borrow(model, one) is None
    may_go.set()
    until(lambda: long.outcomes)
    borrowed = []
    until(lambda: borrowed.append(schedulers.borrow(model, one)) or borrowed[-1])
    assert schedulers.is_of(borrowed[-1], model, one)
    assert not schedulers.is_of(borrowed[-1], other, long)
    assert schedulers.close(PATIENCE) == []
    assert schedulers.borrow(sums(), one) is None, "the server is shutting down"
    with pytest.raises(ShuttingDown):
        schedulers.submit(model, one)
