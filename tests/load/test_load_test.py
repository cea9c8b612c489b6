from typing import Any

import pytest

from kit.load_tests import count_over
from rnnserve.load.latency_objective import parse_objective
from rnnserve.load.load_level import LoadLevel, Measurement
from rnnserve.load.load_test import LoadTest


def test_test_with_an_objective_passes_if_some_load_holds_it(load_test, sweep):
    for slo, rate, decision in (
        ("p99=500ms", 6400, "held"),
        ("p99=20ms", 200, "held"),
        ("p99=4.6ms", None, "undecided"),
        ("p99=1us", None, "not held"),
    ):
        test = load_test(sweep, slo)
        assert test.passed is (rate is not None)
        assert (test.best and test.best.load.size) == rate
        assert test.decision == decision
    test = load_test(sweep)
    assert (test.decision, test.verdict(test.results[0]), test.best.load.size) == (None, None, 6400)


def test_wrong_labels_and_errors_fail(load_test, result):
    assert load_test([result()]).passed
    assert not load_test([result(checked=5, wrong=1)]).passed
    assert not load_test([result(checked=5, wrong=1)], "p99=5s").passed
    assert not load_test([result(), result(errors={"UNAVAILABLE": 1})]).passed
    # Above the rate that meets the objective, a server may refuse requests.
    assert load_test([result([1] * 459), result(errors={"RESOURCE_EXHAUSTED": 1}, rate=1000)], "p99=5s").passed


class Generators:
    """Answers in a millisecond up to a rate, above it in ten, and lists the rates."""

    def __init__(self, result, limit):
        self.result, self.limit = result, limit
        self.rates = []

    def run(self, load, report_progress):
        del report_progress
        self.rates.append(load.rate)
        made = self.result([1.0 if load.rate <= self.limit else 10.0] * 600)
        if load.objective is not None:
            count_over(made, load.objective)
        return Measurement(made.statistics, 1.0)


class Silent:
    """A server that reports no batches, and a progress that is not shown."""

    def count_batches(self, models):
        assert models == ("walks",)

    def begin(self, load):
        pass

    def end(self, result):
        pass

    update = None


@pytest.fixture
def run_test(result):
    def make(**settings):
        silent: Any = Silent()
        return LoadTest(Generators(result, 300), silent, ("walks",), silent, **settings)

    return make


def test_loads_are_repeated_in_turn(run_test):
    test = run_test(runs=3)
    test.sweep([LoadLevel(rate=1), LoadLevel(rate=2)])
    assert test.generators.rates == [1, 2, 1, 2, 1, 2]
    assert [len(result.runs) for result in test.pooled] == [3, 3]


@pytest.mark.parametrize("runs", [1, 2])
def test_search_finds_the_highest_rate_that_holds(run_test, runs):
    objective = parse_objective("p99=5ms")
    test = run_test(objective=objective, runs=runs)
    test.search(LoadLevel(rate=100, objective=objective), objective)
    assert 285 <= test.best.load.size <= 300
    rates = test.generators.rates
    assert len(rates) == runs * len(set(rates))
