"""One function runs a batch, records it and answers it; another decides what is in the batches."""

import math

import numpy as np
import pytest

from rnnserve.server.batching import execution
from rnnserve.server.batching.cost import Cost
from rnnserve.server.batching.execution import run_batch, run_pending
from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.boundary.checked_request import CheckedRequest
from rnnserve.server.errors import Cancelled, DeadlinePassed, InternalError, InvalidRequest


class Member:
    """A caller that keeps what it is answered."""

    def __init__(self, *, is_deaf: bool = False):
        self.got = []
        self._is_deaf = is_deaf

    def answer(self, answer):
        if self._is_deaf:
            raise ConnectionError("secret")
        self.got.append(answer)

    def refuse(self, error):
        self.got.append(error)


@pytest.fixture
def clock(monkeypatch):
    """A clock that tells 100, then 107 seconds: before a run and after it."""
    times = iter((100.0, 107.0))
    monkeypatch.setattr(execution, "now", lambda: next(times))


def test_a_run_is_recorded_and_each_member_gets_its_answer(clock):
    statistics, members = Statistics(), [Member(), Member()]
    assert run_batch(statistics, members, lambda: ["a", "b"], rows=5, arrived=90.0 + 95.0)
    assert [member.got for member in members] == [["a"], ["b"]]
    assert (statistics.requests, statistics.rows, statistics.runs) == (2, 5, 1)
    assert statistics.run_seconds == 7.0
    assert statistics.wait_seconds == 10.0 + 5.0
    assert statistics.sizes == {5: (1, 7.0)}
    assert (statistics.failures, statistics.dropped) == (0, 0)


def test_a_run_that_fails_refuses_every_member_with_one_id(caplog):
    statistics, members = Statistics(), [Member(), Member(), Member()]
    assert run_batch(statistics, members, lambda: 1 / 0, rows=3, arrived=0.0)  # type: ignore[arg-type, return-value]
    errors = [member.got for member in members]
    assert all(len(got) == 1 and isinstance(got[0], InternalError) for got in errors)
    assert len({str(error) for (error,) in errors}) == 1
    assert "division by zero" not in str(errors[0][0])
    assert "ZeroDivisionError" in caplog.text
    assert (statistics.failures, statistics.requests, statistics.runs) == (3, 0, 0)


def test_a_run_that_gives_nothing_answers_none_and_counts_nothing():
    statistics, member = Statistics(), Member()
    assert not run_batch(statistics, [member], lambda: None, rows=1, arrived=0.0)
    assert member.got == []
    assert (statistics.requests, statistics.failures, statistics.runs) == (0, 0, 0)


def test_a_member_that_cannot_be_answered_costs_the_others_nothing(caplog):
    members = [Member(), Member(is_deaf=True), Member()]
    assert run_batch(Statistics(), members, lambda: ["a", "b", "c"], rows=3, arrived=0.0)
    assert members[0].got == ["a"]
    assert members[2].got == ["c"]
    assert isinstance(members[1].got[0], InternalError)
    assert "secret" in caplog.text


class Pending(PendingRequest):
    """A request of one row and `steps` steps; `check` raises `defect` where there is one."""

    def __init__(self, steps: int, *, defect: Exception | None = None, deadline: float = math.inf, rows: int = 1):
        super().__init__(rows=rows, steps=steps, deadline=deadline, arrived=0.0)
        self._defect = defect
        self.got = []

    def check(self):
        if self._defect is not None:
            raise self._defect
        return CheckedRequest(self.rows, self.steps, self.steps, {}, ("logits",))

    def answer(self, outputs):
        self.got.append(int(outputs["logits"][0]))

    def refuse(self, error):
        self.got.append(type(error))


class Model:
    name = "fake"

    def __init__(self, **cost):
        self.cost = Cost(**{"run": 1e9, "step": 0.0, "point": 1.0, "padding": 0.0, **cost})
        self.statistics = Statistics()
        self.batches = []

    def run(self, requests):
        self.batches.append([request.sequence for request in requests])
        return [{"logits": np.array([request.sequence])} for request in requests]


def test_requests_that_are_dropped_or_refused_are_not_run():
    model = Model()
    cancelled = Pending(3)
    cancelled.cancel()
    waiting = [
        Pending(1),
        cancelled,
        Pending(4, deadline=-math.inf),
        Pending(5, defect=InvalidRequest("no")),
        Pending(6, defect=KeyError("secret")),
        Pending(2),
    ]
    run_pending(model, waiting)
    assert [pending.got for pending in waiting] == [
        [1], [Cancelled], [DeadlinePassed], [InvalidRequest], [InternalError], [2],
    ]  # fmt: skip
    assert model.batches == [[1, 2]]
    assert (model.statistics.dropped, model.statistics.failures, model.statistics.requests) == (2, 0, 2)


def test_nothing_is_run_where_nothing_is_left():
    model, cancelled = Model(), Pending(3)
    cancelled.cancel()
    run_pending(model, [cancelled])
    run_pending(model, [])
    assert model.batches == []
    assert cancelled.got == [Cancelled]


def test_requests_are_run_in_the_batches_that_the_plan_says():
    model = Model(max_points=10)
    waiting = [Pending(3) for _ in range(8)]
    run_pending(model, waiting)
    assert model.batches == [[3, 3, 3], [3, 3, 3], [3, 3]]
    assert model.statistics.runs == 3
    assert model.statistics.rows == 8
    assert [pending.got for pending in waiting] == [[3]] * 8


def test_rows_are_counted_each():
    model = Model()
    run_pending(model, [Pending(3, rows=2), Pending(3, rows=5)])
    assert (model.statistics.requests, model.statistics.rows) == (2, 7)
    assert list(model.statistics.sizes) == [7]


def test_a_deadline_passes_just_after_its_moment():
    assert Pending(1, deadline=5.0).reason_to_drop(5.0) is None
    assert isinstance(Pending(1, deadline=4.9).reason_to_drop(5.0), DeadlinePassed)
