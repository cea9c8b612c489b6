from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rnnserve.load.load_level import LoadLevel, parse_objective
from rnnserve.load.load_result import pool_runs
from rnnserve.load.load_test import LoadTest, find_highest_rate


def test_objective_is_met_if_some_load_meets_it(load_test, sweep):
    for slo, rate, decision in (
        ("p99=500ms", 6400, "met"),
        ("p99=20ms", 200, "met"),
        ("p99=4.6ms", None, "inconclusive"),
        ("p99=1us", None, "missed"),
    ):
        test = load_test(sweep, slo)
        assert test.passed is (rate is not None)
        assert (test.best and test.best.load.size) == rate
        assert test.decision == decision
    test = load_test(sweep)
    assert (test.decision, test.verdict(test.results[0]), test.best.load.size) == (None, None, 6400)


def test_wrong_answers_and_errors_fail(load_test, result):
    assert load_test([result()]).passed
    assert not load_test([result(compared=5, different=1)]).passed
    assert not load_test([result(compared=5, different=1)], "p99=5s").passed
    assert not load_test([result(), result(errors={"UNAVAILABLE": 1})]).passed
    # Above the rate that meets the objective, a server may refuse requests.
    assert load_test([result([1] * 528), result(errors={"RESOURCE_EXHAUSTED": 1}, rate=1000)], "p99=5s").passed


class Generators:
    """Answers in a millisecond up to a rate, above it in ten, and lists the rates."""

    def __init__(self, result, limit):
        self.result, self.limit = result, limit
        self.rates = []

    def run(self, load, objective, report_progress):
        del objective, report_progress
        self.rates.append(load.rate)
        return replace(self.result([1.0 if load.rate <= self.limit else 10.0] * 600), load=load)


class Silent:
    """A server that reports no batches, and a progress display that shows nothing."""

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
        generators: Any = Generators(result, 300)
        return LoadTest(generators, silent, ("walks",), silent, **settings)

    return make


@pytest.mark.parametrize("runs", [1, 2])
def test_search_finds_the_highest_rate_that_meets_the_objective(run_test, runs):
    objective = parse_objective("p99=5ms")
    test = run_test(objective=objective, runs=runs)
    test.search(LoadLevel(rate=100), objective)
    assert 285 <= test.best.load.size <= 300
    rates = test.generators.rates
    assert len(rates) == runs * len(set(rates))


def test_runs_of_one_load_are_pooled(result):
    runs = [result([1.0] * 10, batches={2: 5}, cpu=0.2), result([9.0] * 30, batches={1: 1, 2: 5}, cpu=0.4)]
    other = result([1.0], rate=200)
    pooled, alone = pool_runs([runs[0], other, runs[1]])
    assert alone is other
    assert pooled.runs == tuple(runs)
    assert (pooled.statistics.sent, pooled.seconds, pooled.throughput) == (40, 2.0, 20.0)
    assert pooled.statistics.cpu == [pytest.approx(0.3)]
    assert pooled.batches == {1: 1, 2: 10}
    assert pooled.latency.count == 40
    assert not pooled.cut_short


@given(st.integers(1, 200_000), st.sampled_from([100, 1000]))
@example(1, 1000)
@example(99, 100)
@example(101, 100)
def test_search_finds_the_rate_within_five_percent(limit, start):
    tried = []

    def is_met(rate):
        tried.append(rate)
        return rate <= limit

    found = find_highest_rate(is_met, start, loads=40)
    assert found in tried
    assert found <= limit
    # Rates have three digits, and below 20 a twentieth is less than one.
    assert found >= limit / 1.06 - 1
    assert len(tried) == len(set(tried))
