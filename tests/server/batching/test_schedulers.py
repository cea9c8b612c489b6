"""The schedulers of several models."""

import math
import threading

import pytest

from kit.scheduled import Caller, Model
from kit.waiting import PATIENCE, until
from rnnserve.server.batching.cost import Cost
from rnnserve.server.batching.schedulers import Schedulers
from rnnserve.server.batching.waiting_limits import WaitingLimits
from rnnserve.server.errors import QueueFull, ShuttingDown


@pytest.fixture
def model():
    return Model()


def threads():
    """Those of the schedulers of such models; servers of other tests start and end threads meanwhile."""
    return {thread for thread in threading.enumerate() if thread.name == f"scheduler {Model.name}"}


def test_each_model_has_a_thread_of_its_own_that_starts_with_its_first_request():
    """A model that stands still delays no other."""
    schedulers, still, quick = Schedulers(WaitingLimits(4, math.inf)), Model(), Model()
    quick.may_go.set()
    before = threads()
    first, second = Caller(1), Caller(2)
    try:
        schedulers.submit(still, first)
        assert still.started.wait(PATIENCE)
        schedulers.submit(quick, second)
        assert isinstance(second.wait(), dict)
        assert len(threads() - before) == 2
        still.may_go.set()
        assert isinstance(first.wait(), dict)
    finally:
        still.may_go.set()
        schedulers.close()
    assert threads() <= before
    for model in (still, Model()):
        with pytest.raises(ShuttingDown, match="slow: the server is shutting down"):
            schedulers.submit(model, Caller(3))


def test_no_request_waits_for_the_run_of_one_that_takes_long_by_itself(model):
    """Nor for several of them that came before it: they have a queue and a thread of their own."""
    model.cost = Cost(run=0.0, step=0.0, point=0.01, padding=0.0)  # of 10 steps takes 0.1 s
    schedulers = Schedulers(WaitingLimits(2, math.inf))
    long, others = [Caller(number) for number in (11, 12, 14)], [Caller(10), Caller(9)]
    before = threads()
    try:
        schedulers.submit(model, long[0])
        assert model.started.wait(PATIENCE)
        for caller in long[1:]:
            schedulers.submit(model, caller)
        with pytest.raises(QueueFull):
            schedulers.submit(model, Caller(15))
        schedulers.submit(model, others[0])
        until(lambda: model.batches == [[11], [10]])
        schedulers.submit(model, others[1])
        assert len(threads() - before) == 2
        model.may_go.set()
        assert [int(caller.wait()["logits"][0]) for caller in (*long, *others)] == [11, 12, 14, 10, 9]
        assert sorted(model.batches[2:]) == [[9], [12], [14]]
    finally:
        model.may_go.set()
        schedulers.close()
    assert threads() <= before


def test_each_model_has_a_queue_of_its_own():
    schedulers, models = Schedulers(WaitingLimits(1, math.inf)), (Model(), Model())
    try:
        for model in models:
            schedulers.submit(model, Caller(1))
            assert model.started.wait(PATIENCE)
            schedulers.submit(model, Caller(2))
            with pytest.raises(QueueFull):
                schedulers.submit(model, Caller(3))
    finally:
        for model in models:
            model.may_go.set()
        schedulers.close()


def test_a_model_that_serves_no_more_is_run_to_the_end_and_its_thread_ends():
    """And a request that began with it, and comes later, is run, too."""
    schedulers, gone, kept = Schedulers(WaitingLimits(4, math.inf)), Model(), Model()
    before = threads()
    first, waiting, late = Caller(1), Caller(2), Caller(3)
    try:
        schedulers.submit(gone, first)
        assert gone.started.wait(PATIENCE)
        schedulers.submit(gone, waiting)
        schedulers.keep({kept})
        gone.may_go.set()
        assert isinstance(first.wait(), dict)
        assert isinstance(waiting.wait(), dict)
        schedulers.submit(gone, late)
        assert isinstance(late.wait(), dict)
        schedulers.keep({kept})
        until(lambda: threads() <= before)
    finally:
        gone.may_go.set()
        schedulers.close()
