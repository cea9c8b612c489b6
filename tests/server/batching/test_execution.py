"""Running a batch: what is recorded, which callers get an answer, and which are refused when a run fails."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.checked_requests import checked_request, signature
from kit.statistics_numbers import numbers
from rnnserve.server.batching import execution
from rnnserve.server.batching.execution import Cost, PendingRequest, run_batch, run_pending
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.errors import Cancelled, DeadlinePassed, InternalError, InvalidRequest


class Member:
    """A caller that keeps its answers and errors."""

    def __init__(self, *, is_deaf: bool = False):
        self.got = []
        self._is_deaf = is_deaf

    def answer(self, answer):
        if self._is_deaf:
            raise ConnectionError("secret")
        self.got.append(answer)

    def refuse(self, error):
        self.got.append(error)

    def origin(self):
        raise NotImplementedError


@pytest.fixture
def tell(monkeypatch):
    """Sets the successive times of the clock."""

    def tell(*seconds):
        times = iter(seconds)
        monkeypatch.setattr(execution, "now", lambda: next(times))

    return tell


@pytest.fixture
def clock(tell):
    tell(100.0, 107.0)  # before a run, after it


class Batch:
    """Members 0, 1, … whose run is a function of their numbers."""

    def __init__(self, members, run, *, rows=None, arrived=None, numbers=None):
        self.members = members
        self.numbers = list(range(len(members))) if numbers is None else numbers
        self._run = run
        self._rows = self.rows_each = rows or [1] * len(members)
        self._arrived = arrived or [0.0] * len(members)
        self.rows, self.arrived = sum(self._rows), sum(self._arrived)
        self.arrivals, self.steps, self.padded_steps = self._arrived, 4 * self.rows, self.rows & 1

    def run(self):
        return self._run(self.numbers)

    def part(self, part):
        return Batch(
            self.members[part],
            self._run,
            rows=self._rows[part],
            arrived=self._arrived[part],
            numbers=self.numbers[part],
        )


def model_of(statistics):
    return SimpleNamespace(statistics=statistics)


def answers_of(numbers):
    return [f"answer {number}" for number in numbers]


def test_run_is_recorded_and_each_request_gets_its_answer(clock):
    statistics, members = Statistics(), [Member(), Member()]
    assert run_batch(model_of(statistics), Batch(members, answers_of, rows=[2, 3], arrived=[90.0, 95.0]))
    assert [member.got for member in members] == [["answer 0"], ["answer 1"]]
    assert numbers(statistics, "requests", "rows", "runs") == (2, 5, 1)
    assert numbers(statistics, "run_seconds") == 2 * 7.0  # the run's whole time, for each of its requests
    assert numbers(statistics, "wait_seconds") == 10.0 + 5.0
    assert statistics.sizes == {5: (1, 7.0)}
    assert numbers(statistics, "failures", "dropped") == (0, 0)


class Refusing:
    """An inference call that fails for certain requests. It records the requests that it received."""

    def __init__(self, bad, error=None):
        self.bad = bad
        self.error = error or InvalidRequest("token 99")
        self.ran = []

    def __call__(self, numbers):
        self.ran.append(numbers)
        if self.bad.intersection(numbers):
            raise self.error
        return answers_of(numbers)


@given(st.integers(1, 64), st.data())
def test_failed_batch_is_halved_until_only_the_failing_requests_fail(count, data):
    culprits = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=4))
    statistics, members, run = Statistics(), [Member() for _ in range(count)], Refusing(culprits)
    rows = [1 + member % 3 for member in range(count)]
    assert run_batch(model_of(statistics), Batch(members, run, rows=rows))
    answers = answers_of(range(count))
    for number, member in enumerate(members):
        assert member.got == [run.error if number in culprits else answers[number]]
    assert len(run.ran) <= 1 + 2 * len(culprits) * math.ceil(math.log2(count))
    assert numbers(statistics, "requests", "failures") == (count - len(culprits), len(culprits))
    assert numbers(statistics, "rows") == sum(rows[number] for number in range(count) if number not in culprits)
    assert numbers(statistics, "runs") == sum(runs for runs, _ in statistics.sizes.values())


def test_too_large_batch_is_split_and_every_request_answered():
    """For lack of memory, say."""

    def run(numbers):
        if len(numbers) > 2:
            raise MemoryError
        return numbers

    statistics, members = Statistics(), [Member() for _ in range(7)]
    assert run_batch(model_of(statistics), Batch(members, run))
    assert [member.got for member in members] == [[number] for number in range(7)]
    assert numbers(statistics, "requests", "failures", "failed_seconds") == (7, 0, 0.0)


def test_defect_refuses_its_request_with_an_error_id(caplog):
    members, run = [Member(), Member(), Member()], Refusing({1}, ZeroDivisionError("secret"))
    assert run_batch(model_of(Statistics()), Batch(members, run))
    (error,) = members[1].got
    assert isinstance(error, InternalError)
    assert "secret" not in str(error)
    assert "ZeroDivisionError: secret" in caplog.text
    assert [members[0].got, members[2].got] == [["answer 0"], ["answer 2"]]


def test_undeliverable_answer_does_not_affect_the_others(caplog):
    members = [Member(), Member(is_deaf=True), Member()]
    assert run_batch(model_of(Statistics()), Batch(members, answers_of))
    assert [member.got for member in members[::2]] == [["answer 0"], ["answer 2"]]
    assert isinstance(members[1].got[0], InternalError)
    assert "secret" in caplog.text


class Pending(PendingRequest):
    """A request of `rows` rows and `steps` steps. `check` raises `defect`, if any."""

    def __init__(self, steps: int, *, defect: Exception | None = None, deadline: float = math.inf, rows: int = 1):
        super().__init__(rows=rows, steps=steps, deadline=deadline, arrived=0.0)
        self._defect = defect
        self.got = []

    connection = "one"

    def origin(self):
        raise NotImplementedError

    def check(self):
        if self._defect is not None:
            raise self._defect
        return checked_request(self.rows, self.steps)

    def answer(self, outputs):
        self.got.append(int(outputs["logits"][0]))

    def refuse(self, error):
        self.got.append(type(error))


class Model:
    name = "fake"
    in_steps = None
    refuses_non_finite = False
    run_arrays = NotImplemented  # it makes no runs by steps
    signature = signature()

    def __init__(self, **cost):
        self.cost = Cost(**{"run": 1e9, "step": 0.0, "point": 1.0, "padding": 0.0, **cost})
        self.statistics = Statistics()
        self.batches = []

    def run(self, requests):
        self.batches.append([request.steps for request in requests])
        return [{"logits": np.array([request.steps])} for request in requests]


def test_dropped_and_refused_requests_are_not_run():
    model = Model()
    cancelled = Pending(3)
    cancelled.cancel()
    waiting = [
        Pending(1),
        cancelled,
        Pending(4, deadline=-1e9),
        Pending(5, defect=InvalidRequest("no")),
        Pending(6, defect=KeyError("secret")),
        Pending(2),
    ]
    run_pending(model, waiting)
    assert [pending.got for pending in waiting] == [
        [1], [Cancelled], [DeadlinePassed], [InvalidRequest], [InternalError], [2],
    ]  # fmt: skip
    assert model.batches == [[1, 2]]
    assert numbers(model.statistics, "dropped", "failures", "requests") == (2, 0, 2)
    run_pending(model, [cancelled])
    run_pending(model, [])
    assert model.batches == [[1, 2]]
