"""Requests that are run by steps, against whole runs, on a model of numpy: running sums."""

import random
import threading

import numpy as np
import pytest

from kit.running_sums import POISON, Caller, Sums, any_request, assert_as_whole, request_of
from rnnserve.server.batching import step_run
from rnnserve.server.batching.cost import Cost
from rnnserve.server.batching.schedulers import Schedulers
from rnnserve.server.batching.step_run import CHUNK_SECONDS, MOST_ROWS, StepRun, chunk_steps
from rnnserve.server.batching.waiting_limits import WaitingLimits
from rnnserve.server.boundary.signature import TensorSpec
from rnnserve.server.clock import now
from rnnserve.server.errors import Cancelled, DeadlinePassed, InternalError, InvalidRequest, TimeoutExpired


@pytest.mark.parametrize("has_lengths", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_whatever_joins_and_leaves_each_answer_has_the_bits_of_a_whole_run(seed, has_lengths):
    draw = random.Random(seed)
    cost = Cost(run=draw.choice((0.0, 1e-4)), step=draw.choice((0.0, 2e-4, 1e-3)), point=1e-5, padding=1e-5)
    model = Sums(has_lengths=has_lengths, cost=cost)
    steps, callers = StepRun(model), []
    while len(callers) < 120 or steps.is_busy:
        joining = [Caller(any_request(model, draw)) for _ in range(draw.choice((0, 0, 1, 2, 20)))]
        if len(callers) >= 120:
            joining = []
        callers += joining
        steps.go_on(joining)
    for caller in callers:
        assert_as_whole(model, caller)
    assert model.statistics.requests == len(callers)
    assert model.statistics.rows == sum(caller.rows for caller in callers)


def test_a_request_is_answered_when_its_own_rows_have_ended():
    model = Sums(cost=Cost(run=0.0, step=1e-3, point=0.0, padding=0.0))
    draw = random.Random(0)
    short, long = (Caller(request_of(model, draw, steps=steps)) for steps in (5, 400))
    steps = StepRun(model)
    steps.go_on([long])
    steps.go_on([short])
    while not short.outcomes:
        steps.go_on([])
    assert not long.outcomes
    assert sum(size for _, size in model.runs) <= 15
    late = Caller(request_of(model, draw, steps=3))
    steps.go_on([late])
    assert_as_whole(model, late)
    assert not long.outcomes


def test_rows_of_a_large_request_leave_places_for_others():
    model = Sums()
    draw = random.Random(0)
    large = Caller(request_of(model, draw, batch=20 * MOST_ROWS, steps=30))
    small = [Caller(request_of(model, draw, steps=10)) for _ in range(5)]
    steps = StepRun(model)
    steps.go_on([large])
    assert steps.room > 0
    steps.go_on(small)
    while not all(caller.outcomes for caller in small):
        steps.go_on([])
    assert not large.outcomes
    while steps.is_busy:
        steps.go_on([])
    for caller in (large, *small):
        assert_as_whole(model, caller)
    assert max(rows for rows, _ in model.runs[:-6]) <= MOST_ROWS


def test_outputs_of_requests_in_hand_are_bounded(monkeypatch):
    model = Sums()
    draw = random.Random(0)
    large = [Caller(request_of(model, draw, batch=2, steps=200, outputs=("output",))) for _ in range(8)]  # 3,200 bytes
    small = Caller(request_of(model, draw, steps=200, outputs=("last",)))
    monkeypatch.setattr(step_run, "_MOST_BYTES", 10_000)
    steps = StepRun(model)
    steps.go_on([*large, small])
    assert model.runs == [(8, model.runs[0][1])], "three large ones, and the small one, with a row of padding"
    while steps.is_busy:
        steps.go_on([])
    for caller in (*large, small):
        assert_as_whole(model, caller)


def test_who_is_late_or_has_cancelled_leaves_between_chunks():
    model = Sums(cost=Cost(run=0.0, step=1e-3, point=0.0, padding=0.0))
    draw = random.Random(0)
    callers = [Caller(request_of(model, draw, steps=30, outputs=("last",))) for _ in range(4)]
    steps = StepRun(model)
    steps.go_on(callers)
    callers[1].cancel()
    callers[2].deadline = now()
    while steps.is_busy:
        steps.go_on([])
    assert isinstance(callers[1].outcome, Cancelled)
    assert isinstance(callers[2].outcome, DeadlinePassed)
    assert_as_whole(model, callers[0])
    assert_as_whole(model, callers[3])
    assert model.statistics.dropped == 2


def test_a_time_out_is_for_the_wait_and_ends_no_run(monkeypatch):
    model = Sums(cost=Cost(run=0.0, step=1e-3, point=0.0, padding=0.0))
    draw = random.Random(0)
    begun, waits = (Caller(request_of(model, draw, steps=30, outputs=("output",))) for _ in range(2))
    monkeypatch.setattr(step_run, "_MOST_BYTES", 1)  # so that the second waits for a place
    steps = StepRun(model)
    steps.go_on([begun, waits])
    for caller in (begun, waits):
        caller.deadline, caller.timeout = now(), 0.1
    while steps.is_busy:
        steps.go_on([])
    assert_as_whole(model, begun)
    assert isinstance(waits.outcome, TimeoutExpired)


@pytest.mark.parametrize("at", [0, 3, 29])
@pytest.mark.parametrize("culprit", range(5))
def test_a_chunk_that_raises_costs_its_culprit_alone(culprit, at):
    model = Sums(cost=Cost(run=0.0, step=1e-3, point=0.0, padding=0.0))
    draw = random.Random(0)
    callers = [Caller(request_of(model, draw, batch=1 + number % 2, steps=30)) for number in range(5)]
    callers[culprit].request.inputs["input"][0, at] = POISON
    steps = StepRun(model)
    steps.go_on(callers[:3])
    steps.go_on(callers[3:])
    while steps.is_busy:
        steps.go_on([])
    for number, caller in enumerate(callers):
        if number == culprit:
            assert isinstance(caller.outcome, InvalidRequest)
        else:
            assert_as_whole(model, caller)
    assert model.statistics.failures == 1


def test_an_answer_that_is_not_finite_is_refused_where_it_has_to_be():
    model = Sums()
    model.refuses_non_finite = True
    spec = TensorSpec("last", "FP32", ("batch", "features"), (-1, 2), may_be_non_finite=True)
    model.signature.outputs["last"] = spec
    draw = random.Random(0)
    wrong, right = (Caller(request_of(model, draw, steps=9, outputs=("last",))) for _ in range(2))
    wrong.request.inputs["input"][0, 4] = np.inf
    steps = StepRun(model)
    steps.go_on([wrong, right])
    while steps.is_busy:
        steps.go_on([])
    assert isinstance(wrong.outcome, InvalidRequest)
    assert_as_whole(model, right)


def test_a_request_whose_padding_is_no_zeros_is_run_whole():
    model = Sums()
    draw = random.Random(0)
    caller = Caller(request_of(model, draw, 2, 9, outputs=("uncut",), lengths=np.array([4, 9])))
    steps = StepRun(model)
    steps.go_on([caller])
    assert not steps.is_busy
    assert_as_whole(model, caller)


def test_a_defect_refuses_all_in_hand(monkeypatch):
    model = Sums()
    callers = [Caller(request_of(model, random.Random(seed))) for seed in range(3)]
    steps = StepRun(model)
    monkeypatch.setattr(steps, "_take_results", lambda *_: 1 / 0)
    steps.go_on(callers)
    assert not steps.is_busy
    assert {type(caller.outcome) for caller in callers} == {InternalError}


COST = Cost(run=100e-6, step=50e-6, point=5e-6, padding=5e-6)


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        ([7], 7),  # one alone goes on to its end
        ([500], 90),  # for 5 ms
        ([12] * 8, 12),
        ([1, 60, 60, 60], 60),  # the short one costs little
        ([4] * 20 + [60] * 12, 4),  # most end there
    ],
)
def test_the_steps_of_a_chunk(left, expected):
    assert chunk_steps(left, COST, is_padded=True) == expected


def test_the_steps_of_a_chunk_where_rows_may_not_be_padded():
    assert chunk_steps([9, 5, 20], Cost(run=0.0, step=0.0, point=0.0, padding=0.0), is_padded=False) == 5


def test_a_chunk_has_a_step_however_long_it_takes():
    assert chunk_steps([9, 5, 20], Cost(run=0.0, step=1.0, point=1.0, padding=1.0), is_padded=True) == 1


def assert_answered_as_whole(model, callers):
    """Have schedulers answer all callers, each with the bits of a run of its own."""
    schedulers = Schedulers(WaitingLimits(requests=100, seconds=1e9))
    for caller in callers:
        schedulers.submit(model, caller)
    assert schedulers.close(20.0) == []
    for caller in callers:
        assert_as_whole(model, caller)


def test_long_requests_of_many_rows_run_whole_on_a_thread_of_their_own():
    model = Sums(cost=Cost(run=0.0, step=0.0, point=1e-4, padding=0.0))
    model.in_steps = model
    draw = random.Random(0)
    callers = [
        Caller(request_of(model, draw, batch=rows, steps=steps, outputs=("output",)))
        for rows, steps in ((2 * MOST_ROWS, 40), (1, 4000), (1, 3))
    ]
    assert_answered_as_whole(model, callers)
    assert (2 * MOST_ROWS, 40) in model.runs[:-3], "whole"
    assert not any(steps == 4000 for _, steps in model.runs[:-3]), "by steps, however long they take"


def test_whole_requests_and_steps_of_sequences_are_rows_of_the_same_runs(monkeypatch):
    """Sequences whose states were found are of another graph of the model, which runs both by steps."""
    cost = Cost(run=0.0, step=0.0, point=1e-3, padding=1e-3)
    model, parts = Sums(cost=cost), Sums(cost=cost)
    model.in_steps = parts.in_steps = parts
    draw = random.Random(0)
    all_wait, run_arrays = threading.Event(), parts.run_arrays
    monkeypatch.setattr(parts, "run_arrays", lambda *args: all_wait.wait(20) and run_arrays(*args))
    schedulers = Schedulers(WaitingLimits(requests=100, seconds=1e9))
    callers = [Caller(request_of(model, draw, steps=1 if number % 2 else 9)) for number in range(24)]
    for number, caller in enumerate(callers):
        schedulers.submit(parts if number % 2 else model, caller)
    all_wait.set()
    assert schedulers.close(20.0) == []
    assert model.runs == []
    assert max(rows for rows, _ in parts.runs) >= 22
    for caller in callers:
        assert_as_whole(model, caller)


def test_what_takes_no_longer_than_a_chunk_is_run_whole(monkeypatch):
    model = Sums()
    model.in_steps = model
    draw = random.Random(0)
    monkeypatch.setattr(StepRun, "go_on", lambda *_: pytest.fail("by steps"))
    callers = [Caller(request_of(model, draw)) for _ in range(30)]
    assert_answered_as_whole(model, callers)


class Clocked(Sums):
    """Runs take `times` as long as they cost, on a clock of their own; each `disturbed`-th takes a hundred times."""

    def __init__(self, times: float, disturbed: int) -> None:
        super().__init__(cost=Cost(run=0.0, step=1e-4, point=1e-5, padding=1e-5))
        self.time, self._times, self._disturbed = 0.0, times, disturbed

    def run_arrays(self, names, feeds):
        rows, steps = feeds["input"].shape[:2]
        is_disturbed = len(self.runs) % self._disturbed == self._disturbed - 1
        self.time += (100 if is_disturbed else self._times) * self.cost.of(rows, steps)
        return super().run_arrays(names, feeds)

    def chunks(self, monkeypatch) -> list[int]:
        """Steps of each chunk of a long sequence, in two rows."""
        monkeypatch.setattr("rnnserve.server.batching.step_run.now", lambda: self.time)
        steps, caller = StepRun(self), Caller(request_of(self, random.Random(0), batch=2, steps=3000))
        steps.go_on([caller])
        while steps.is_busy:
            steps.go_on([])
        assert_as_whole(Sums(), caller)
        return [steps for _, steps in self.runs]


def test_a_chunk_that_something_else_has_made_longer_decides_little(monkeypatch):
    """The one after it is a tenth shorter, and all others are as long as without."""
    alone, disturbed = (Clocked(1.0, each).chunks(monkeypatch) for each in (10_000, 8))
    assert min(disturbed[:-1]) >= 0.9 * min(alone[:-1])
    assert len(disturbed) <= 1.02 * len(alone) + 1


@pytest.mark.parametrize("times", [4.0, 0.25])
def test_chunks_of_a_model_whose_cost_was_measured_wrong_take_their_time_soon(monkeypatch, times):
    model = Clocked(times, 10_000)
    chunks = model.chunks(monkeypatch)
    assert times * model.cost.of(2, chunks[-2]) == pytest.approx(CHUNK_SECONDS, rel=0.2)
    assert sum(times * model.cost.of(2, steps) > 1.2 * CHUNK_SECONDS for steps in chunks) < 20
