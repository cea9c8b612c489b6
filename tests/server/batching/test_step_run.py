"""Requests that are run by steps, or grouped by length, against whole runs of a model of numpy: running sums."""

import math
import random
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.statistics_numbers import numbers
from rnnserve.server.batching import step_run
from rnnserve.server.batching.batch_arrays import join, split
from rnnserve.server.batching.execution import Cost, PendingRequest
from rnnserve.server.batching.schedulers import Schedulers
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.batching.step_run import MOST_ROWS, StepRun
from rnnserve.server.batching.waiting_queue import QueueLimits
from rnnserve.server.clock import now
from rnnserve.server.errors import Cancelled, DeadlinePassed, InternalError, InvalidRequest, TimeoutExpired
from rnnserve.server.validation.signature import Batching, CheckedRequest, Signature, TensorSpec

INPUT = TensorSpec("input", "FP32", ("batch", "sequence", "features"), (-1, -1, 2))
LENGTHS = TensorSpec("lengths", "INT64", ("batch",), (-1,), optional=True, lengths_of="sequence")
SCALE = TensorSpec("scale", "FP32", ("batch",), (-1,), optional=True, default=np.ones(1, np.float32))
INITIAL = TensorSpec("sum_0", "FP32", ("layers", "batch", "features"), (1, -1, 2), optional=True)
OUTPUT = TensorSpec("output", "FP32", ("sequence", "batch", "features"), (-1, -1, 2), zeros_after_lengths=True)
UNCUT = TensorSpec("uncut", "FP32", ("batch", "sequence", "features"), (-1, -1, 2))
LAST = TensorSpec("last", "FP32", ("batch", "features"), (-1, 2))
FINAL = TensorSpec("sum_n", "FP32", ("layers", "batch", "features"), (1, -1, 2), continues_as="sum_0")

POISON = 1e30
"""A value that a run of it refuses."""


class Sums:
    """Sums over the steps, in the order of the steps, so that any cut has the same bits."""

    name = "sums"
    refuses_non_finite = False
    in_steps: "Sums | None" = None

    def __init__(self, *, has_lengths=True, cost=None):
        inputs = [INPUT, LENGTHS, SCALE, INITIAL] if has_lengths else [INPUT, SCALE, INITIAL]
        self.signature = Signature(
            {spec.name: spec for spec in inputs},
            {spec.name: spec for spec in (OUTPUT, UNCUT, LAST, FINAL)},
            Batching.PADDED if has_lengths else Batching.JOINED,
        )
        self.cost = cost or Cost(run=1e-5, step=1e-5, point=1e-6, padding=1e-6)
        self.statistics = Statistics()
        self.runs: list[tuple[int, int]] = []

    def run_arrays(self, names, feeds):
        rows, steps = feeds["input"].shape[:2]
        assert rows % 2 == 0
        self.runs.append((rows, steps))
        if (feeds["input"] == POISON).any():
            raise InvalidRequest("poisoned")
        lengths = feeds.get("lengths", np.full(rows, steps))
        assert (lengths >= 1).all()
        assert (lengths <= steps).all()
        total = feeds["sum_0"][0].copy()
        output, uncut = np.zeros((steps, rows, 2), np.float32), np.zeros((rows, steps, 2), np.float32)
        for step in range(steps):
            after = total * np.float32(0.9) + feeds["input"][:, step] * feeds["scale"][:, None]
            goes = (step < lengths)[:, None]
            total = np.where(goes, after, total)
            output[step] = np.where(goes, after, 0)
            uncut[:, step] = after
        results = {"output": output, "uncut": uncut, "last": total + 0, "sum_n": total[None]}
        return [results[name] for name in names]

    def run(self, requests):
        wanted = list(self.signature.outputs)
        results = self.run_arrays(wanted, join(requests, self.signature))
        return split(requests, dict(zip(wanted, results, strict=True)), self.signature)


class Caller(PendingRequest):
    """Notes its outcomes."""

    connection = "one"

    def __init__(self, request, deadline=math.inf):
        super().__init__(request.batch, request.steps, deadline, now())
        self.request = request
        self.outcomes = []

    def origin(self):
        raise NotImplementedError

    def check(self):
        return self.request

    def answer(self, outputs):
        self.outcomes.append({name: np.array(array) for name, array in outputs.items()})

    def refuse(self, error):
        self.outcomes.append(error)

    @property
    def outcome(self):
        (outcome,) = self.outcomes
        return outcome


def request_of(model, draw, batch=1, steps=None, outputs=(), **sent):
    steps = steps or draw.randint(1, 40)
    values = np.random.default_rng(draw.randint(0, 1 << 30))
    inputs = {"input": values.normal(size=(batch, steps, 2)).astype(np.float32), **sent}
    names = tuple(outputs) or tuple(draw.sample(list(model.signature.outputs), draw.randint(1, 4)))
    sizes = {"sequence": steps}
    longest = model.signature.longest(sizes, inputs, names)
    return CheckedRequest(batch, sizes, longest, model.signature.steps_of(longest), inputs, names)


def any_request(model, draw):
    """Draw a request with any of the allowed inputs."""
    batch, steps = draw.choice((1, 1, 1, 2, 3, 7)), draw.choice((1, 2, 3, 5, 8, 13, 40))
    values = np.random.default_rng(draw.randint(0, 1 << 30))
    sent = {}
    if "lengths" in model.signature.inputs and draw.random() < 0.5:
        sent["lengths"] = values.integers(1, steps + 1, batch)
    if draw.random() < 0.5:
        sent["sum_0"] = values.normal(size=(1, batch, 2)).astype(np.float32)
    if draw.random() < 0.3:
        sent["scale"] = values.normal(size=batch).astype(np.float32)
    return request_of(model, draw, batch, steps, **sent)


def assert_as_whole(model, caller):
    (expected,) = model.run([caller.request])
    assert caller.outcome.keys() == set(caller.request.outputs)
    for name, array in caller.outcome.items():
        assert array.shape == expected[name].shape
        assert array.tobytes() == expected[name].tobytes(), name


STEP_OF_A_MILLISECOND = Cost(run=0.0, step=1e-3, point=0.0, padding=0.0)


def run_all(steps, *callers):
    """Let these join, and go on until nothing is left."""
    steps.go_on(list(callers))
    while steps.is_busy:
        steps.go_on([])


def assert_answered_as_whole(model, callers, all_wait=None):
    """Have schedulers answer all callers, each with the bits of a run of its own."""
    schedulers = Schedulers(QueueLimits(requests=1000, seconds=1e9))
    for caller in callers:
        schedulers.submit(model, caller)
    if all_wait is not None:
        all_wait.set()
    assert schedulers.close(20.0) == []
    for caller in callers:
        if caller.outcome.__class__ is not Cancelled:
            assert_as_whole(model, caller)


@given(st.integers(0, 1 << 30), st.booleans())
def test_request_run_by_steps_has_the_bits_of_a_whole_run(seed, has_lengths):
    """Whatever joins and leaves meanwhile."""
    draw = random.Random(seed)
    cost = Cost(run=draw.choice((0.0, 1e-4)), step=draw.choice((0.0, 2e-4, 1e-3)), point=1e-5, padding=1e-5)
    model = Sums(has_lengths=has_lengths, cost=cost)
    steps, callers = StepRun(model), []
    while len(callers) < 40 or steps.is_busy:
        joining = [Caller(any_request(model, draw)) for _ in range(draw.choice((0, 0, 1, 2, 20)))]
        if len(callers) >= 40:
            joining = []
        callers += joining
        steps.go_on(joining)
    for caller in callers:
        assert_as_whole(model, caller)
    assert numbers(model.statistics, "requests") == len(callers)
    assert numbers(model.statistics, "rows") == sum(caller.rows for caller in callers)


@pytest.mark.parametrize("has_lengths", [True, False])
def test_request_grouped_by_length_has_the_bits_of_a_whole_run(monkeypatch, has_lengths):
    """If sequences can't be cut, requests of similar lengths share runs."""
    draw = random.Random(0)
    model = Sums(has_lengths=has_lengths, cost=Cost(run=1e-6, step=1e-6, point=1e-5, padding=1e-5))
    callers = [Caller(any_request(model, draw)) for _ in range(150)]
    for caller in callers[::11]:
        caller.cancel()
    all_wait, run = threading.Event(), model.run
    monkeypatch.setattr(model, "run", lambda requests: all_wait.wait(20) and run(requests))
    assert_answered_as_whole(model, callers, all_wait)
    assert max(rows for rows, _ in model.runs) > 10
    assert {type(caller.outcome) for caller in callers[::11]} == {Cancelled}


def test_request_is_answered_when_its_own_rows_have_ended():
    model, draw = Sums(cost=STEP_OF_A_MILLISECOND), random.Random(0)
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


def test_large_request_leaves_room_for_others():
    model, draw = Sums(), random.Random(0)
    large = Caller(request_of(model, draw, batch=20 * MOST_ROWS, steps=30))
    small = [Caller(request_of(model, draw, steps=10)) for _ in range(5)]
    steps = StepRun(model)
    steps.go_on([large])
    assert steps.room > 0
    steps.go_on(small)
    while not all(caller.outcomes for caller in small):
        steps.go_on([])
    assert not large.outcomes
    run_all(steps)
    for caller in (large, *small):
        assert_as_whole(model, caller)
    assert max(rows for rows, _ in model.runs[:-6]) <= MOST_ROWS


def test_outputs_in_flight_are_bounded(monkeypatch):
    model, draw = Sums(), random.Random(0)
    large = [Caller(request_of(model, draw, batch=2, steps=200, outputs=("output",))) for _ in range(8)]  # 3,200 bytes
    small = Caller(request_of(model, draw, steps=200, outputs=("last",)))
    monkeypatch.setattr(step_run, "_MOST_BYTES", 10_000)
    steps = StepRun(model)
    steps.go_on([*large, small])
    assert model.runs == [(8, model.runs[0][1])], "three large ones, and the small one, with a row of padding"
    run_all(steps)
    for caller in (*large, small):
        assert_as_whole(model, caller)


def test_expired_and_cancelled_requests_are_dropped_between_chunks(monkeypatch):
    """A timeout is for the wait, and ends no run that has begun."""
    model, draw = Sums(cost=STEP_OF_A_MILLISECOND), random.Random(0)
    callers = [Caller(request_of(model, draw, steps=30, outputs=("last",))) for _ in range(4)]
    steps = StepRun(model)
    steps.go_on(callers)
    callers[1].cancel()
    callers[2].deadline = now()
    run_all(steps)
    assert [type(caller.outcome) for caller in callers] == [dict, Cancelled, DeadlinePassed, dict]
    for caller in callers[::3]:
        assert_as_whole(model, caller)
    assert numbers(model.statistics, "dropped") == 2
    begun, waits = (Caller(request_of(model, draw, steps=30, outputs=("output",))) for _ in range(2))
    monkeypatch.setattr(step_run, "_MOST_BYTES", 1)  # so that the second waits for a place
    steps.go_on([begun, waits])
    for caller in (begun, waits):
        caller.deadline, caller.timeout = now(), 0.1
    run_all(steps)
    assert_as_whole(model, begun)
    assert isinstance(waits.outcome, TimeoutExpired)


@given(st.integers(0, 4), st.integers(0, 29))
def test_failing_chunk_refuses_only_the_failing_request(culprit, at):
    model, draw = Sums(cost=STEP_OF_A_MILLISECOND), random.Random(0)
    callers = [Caller(request_of(model, draw, batch=1 + number % 2, steps=30)) for number in range(5)]
    callers[culprit].request.inputs["input"][0, at] = POISON
    steps = StepRun(model)
    steps.go_on(callers[:3])
    run_all(steps, *callers[3:])
    for number, caller in enumerate(callers):
        if number == culprit:
            assert isinstance(caller.outcome, InvalidRequest)
        else:
            assert_as_whole(model, caller)
    assert numbers(model.statistics, "failures") == 1


def test_non_finite_answer_is_refused_in_a_step_run():
    model, draw = Sums(), random.Random(0)
    model.refuses_non_finite = True
    spec = TensorSpec("last", "FP32", ("batch", "features"), (-1, 2), may_be_non_finite=True)
    model.signature.outputs["last"] = spec
    wrong, right = (Caller(request_of(model, draw, steps=9, outputs=("last",))) for _ in range(2))
    wrong.request.inputs["input"][0, 4] = np.inf
    run_all(StepRun(model), wrong, right)
    assert isinstance(wrong.outcome, InvalidRequest)
    assert_as_whole(model, right)


def test_defect_refuses_all_in_flight(monkeypatch):
    model = Sums()
    callers = [Caller(request_of(model, random.Random(seed))) for seed in range(3)]
    steps = StepRun(model)
    monkeypatch.setattr(steps, "_take", lambda *_: 1 / 0)
    steps.go_on(callers)
    assert not steps.is_busy
    assert {type(caller.outcome) for caller in callers} == {InternalError}
