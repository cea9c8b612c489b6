"""Natural batching, limits and failures, without a network or a model."""

import math
import threading

import pytest

from kit.scheduled import Caller, Model
from kit.waiting import PATIENCE, until
from rnnserve.server.batching.cost import Cost
from rnnserve.server.batching.scheduler import Scheduler
from rnnserve.server.batching.schedulers import Schedulers
from rnnserve.server.batching.waiting_limits import WaitingLimits
from rnnserve.server.clock import now
from rnnserve.server.errors import Cancelled, DeadlinePassed, InternalError, QueueFull, ShuttingDown


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def scheduler(model):
    scheduler = Scheduler(model, WaitingLimits(4, math.inf))
    yield scheduler
    model.may_go.set()
    scheduler.close()


def hold(scheduler, model) -> Caller:
    """Occupy the model with one request."""
    first = Caller(1)
    scheduler.submit(first)
    assert model.started.wait(PATIENCE)
    return first


def test_what_arrives_during_a_run_is_the_next_batch(scheduler, model):
    first = hold(scheduler, model)
    later = [Caller(number) for number in (2, 3, 4)]
    for caller in later:
        scheduler.submit(caller)
    model.may_go.set()
    assert [int(caller.wait()["logits"][0]) for caller in (first, *later)] == [1, 2, 3, 4]
    assert model.batches == [[1], [2, 3, 4]]


def test_a_thread_that_waits_anyway_runs_its_own_request_where_nothing_else_runs(scheduler, model):
    model.may_go.set()
    for number in (1, 2):
        caller = Caller(number)
        scheduler.submit(caller, may_run_now=True)
        assert caller.is_answered()
        assert caller.answered_on is threading.current_thread()
    scheduler.submit(waiting := Caller(3))
    assert waiting.wait()
    assert waiting.answered_on is not threading.current_thread()


def test_what_arrives_while_a_caller_runs_its_own_request_is_run_after_it(scheduler, model):
    first = Caller(1)
    running = threading.Thread(target=scheduler.submit, args=[first], kwargs={"may_run_now": True})
    running.start()
    assert model.started.wait(PATIENCE)
    later = [Caller(number) for number in (2, 3)]
    for caller in later:
        scheduler.submit(caller, may_run_now=True)
    assert not any(caller.is_answered() for caller in later)
    assert not scheduler.close(timeout=0.1)  # until all have been answered
    model.may_go.set()
    for caller in (first, *later):
        assert isinstance(caller.wait(), dict)
    running.join(PATIENCE)
    assert scheduler.close(PATIENCE)
    assert model.batches == [[1], [2, 3]]


@pytest.mark.parametrize(("seconds", "runs_at_once"), [(20e-6, True), (1e-3, False)])
def test_what_takes_less_than_to_wake_a_thread_is_run_on_the_one_that_asks(seconds, runs_at_once):
    """Also while another request runs; and what takes longer waits, and shares the next run."""
    model = Model(Cost(seconds, 0.0, 0.0, 0.0))
    scheduler = Scheduler(model, WaitingLimits(4, math.inf))
    first = hold(scheduler, model)
    later = [Caller(number) for number in (2, 3)]
    running = [
        threading.Thread(target=scheduler.submit, args=[caller], kwargs={"may_run_now": True}) for caller in later
    ]
    for thread in running:
        thread.start()
    until(lambda: len(model.batches) == (3 if runs_at_once else 1) and scheduler.queued == (0 if runs_at_once else 2))
    model.may_go.set()
    for caller in (first, *later):
        assert isinstance(caller.wait(), dict)
    for thread in running:
        thread.join(PATIENCE)
    assert [caller.answered_on in running for caller in later] == [runs_at_once] * 2
    assert len(model.batches) == (3 if runs_at_once else 2)
    assert scheduler.close(PATIENCE)
    with pytest.raises(ShuttingDown):
        scheduler.submit(Caller(4), may_run_now=True)


def test_a_run_of_a_caller_can_be_taken_for_hung(scheduler, model):
    running = threading.Thread(target=scheduler.submit, args=[Caller(1)], kwargs={"may_run_now": True})
    running.start()
    assert model.started.wait(PATIENCE)
    assert not scheduler.is_hung()
    assert scheduler.is_hung(-1.0, 0.0)
    model.may_go.set()
    running.join(PATIENCE)
    assert not scheduler.is_hung(-1.0, 0.0)


def test_a_full_queue_refuses_at_once(scheduler, model):
    hold(scheduler, model)
    waiting = [Caller(number) for number in range(2, 6)]
    for caller in waiting:
        scheduler.submit(caller)
    with pytest.raises(QueueFull, match="slow: 4 requests wait already"):
        scheduler.submit(Caller(6))
    model.may_go.set()
    for caller in waiting:
        assert isinstance(caller.wait(), dict)


def test_in_a_full_queue_the_connection_with_most_gives_way(scheduler, model):
    hold(scheduler, model)
    waiting = [Caller(number) for number in range(2, 6)]
    for caller in waiting:
        scheduler.submit(caller)
    polite = Caller(6, connection="another")
    scheduler.submit(polite)
    assert isinstance(waiting[-1].wait(), QueueFull)
    model.may_go.set()
    for caller in (*waiting[:-1], polite):
        assert isinstance(caller.wait(), dict)


def test_late_and_cancelled_requests_are_not_run(scheduler, model):
    hold(scheduler, model)
    late, gone, there = Caller(2, deadline=now() - 1), Caller(3), Caller(4, deadline=now() + 60)
    for caller in (late, gone, there):
        scheduler.submit(caller)
    gone.cancel()
    model.may_go.set()
    assert isinstance(late.wait(), DeadlinePassed)
    assert isinstance(gone.wait(), Cancelled)
    assert isinstance(there.wait(), dict)
    assert model.batches == [[1], [4]]


def test_a_failing_run_tells_an_id_and_the_next_one_runs(scheduler, model, caplog):
    model.may_go.set()
    failing, next_one = Caller(13), Caller(2)
    scheduler.submit(failing)
    error = failing.wait()
    assert isinstance(error, InternalError)
    assert "secret" not in str(error)
    error_id = str(error).split()[2].rstrip(":")
    assert error_id in caplog.text
    assert "secret" in caplog.text
    scheduler.submit(next_one)
    assert isinstance(next_one.wait(), dict)


def test_closing_answers_what_waits_and_takes_nothing_new(model):
    scheduler = Scheduler(model, WaitingLimits(4, math.inf))
    first = hold(scheduler, model)
    second = Caller(2)
    scheduler.submit(second)
    closing = threading.Thread(target=scheduler.close)
    closing.start()
    model.may_go.set()
    closing.join(PATIENCE)
    assert not closing.is_alive()
    assert isinstance(first.wait(), dict)
    assert isinstance(second.wait(), dict)
    with pytest.raises(ShuttingDown):
        scheduler.submit(Caller(3))


def test_closing_waits_as_long_as_it_may_and_names_what_is_left(model):
    schedulers = Schedulers(WaitingLimits(4, math.inf))
    first = Caller(1)
    schedulers.submit(model, first)
    assert model.started.wait(PATIENCE)
    assert schedulers.close(timeout=0.05) == ["slow"]
    model.may_go.set()
    assert schedulers.close(timeout=PATIENCE) == []
    assert isinstance(first.wait(), dict)


@pytest.mark.parametrize(("steps", "cost", "after", "is_hung"), [
    (1, 0.0, 59.0, False),
    (1, 0.0, 61.0, True),
    (1, 10.0, 99.0, False),  # ten times its cost
    (1, 10.0, 101.0, True),
])  # fmt: skip
def test_a_run_that_takes_much_longer_than_it_costs_is_hung(model, monkeypatch, steps, cost, after, is_hung):
    model.cost = Cost(run=cost, step=0.0, point=0.0, padding=0.0)
    schedulers = Schedulers(WaitingLimits(4, math.inf))
    waiting = Caller(steps)
    try:
        schedulers.submit(model, waiting)
        assert model.started.wait(PATIENCE)
        assert schedulers.hung() == []
        later = now() + after
        monkeypatch.setattr("rnnserve.server.batching.scheduler.now", lambda: later)
        assert schedulers.hung() == (["slow"] if is_hung else [])
    finally:
        model.may_go.set()
        waiting.wait()
        schedulers.close()
    assert schedulers.hung() == []
