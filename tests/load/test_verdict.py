import numpy as np
import pytest

from rnnserve.load.latency_counts import SLICES, LatencyCounts
from rnnserve.load.latency_objective import parse_objective
from rnnserve.load.verdict import Decision, is_decided, judge

HELD, NOT_HELD, UNDECIDED = Decision.HELD, Decision.NOT_HELD, Decision.UNDECIDED


@pytest.fixture
def verdict(load_test):
    def make(result, slo="p99=5ms", confidence=0.99):
        test = load_test([result], slo, confidence=confidence)
        return judge(test.results[0], test.objective)

    return make


def spread(over, total):
    """Latencies of which some exceed 5 ms, evenly spread."""
    latencies = np.full(total, 1.0)
    latencies[np.linspace(0, total, over, endpoint=False).astype(int)] = 9.0
    return latencies


@pytest.mark.parametrize(
    ("over", "total", "decision"),
    [
        (0, 458, UNDECIDED),
        (0, 459, HELD),
        (1, 661, UNDECIDED),
        (1, 662, HELD),
        (1, 20, UNDECIDED),
        (4, 20, NOT_HELD),
        (10, 1000, UNDECIDED),
        (30, 1000, NOT_HELD),
    ],
)
def test_an_objective_is_held_or_not_or_undecided(verdict, result, over, total, decision):
    found = verdict(result(spread(over, total)))
    assert found.decision is decision
    assert (found.limits[0].sent, found.limits[0].over) == (total, over)


def test_what_is_more_certain_takes_more_requests(verdict, result):
    assert verdict(result(spread(0, 300)), confidence=0.95).decision is HELD
    assert verdict(result(spread(0, 459)), confidence=0.999).decision is UNDECIDED


def test_looks_take_a_part_of_the_risk(verdict, result):
    settings = {"has_looks": True}
    assert verdict(result(spread(0, 468), settings=settings)).decision is UNDECIDED
    assert verdict(result(spread(0, 469), settings=settings)).decision is HELD


@pytest.mark.parametrize(
    ("slo", "decision"),
    [
        ("p50=2ms,p99=5ms", HELD),
        ("p50=2ms,p99=500us", NOT_HELD),
        ("p50=2ms,p99.9=5ms", UNDECIDED),
        ("p50=500us,p99.9=5ms", NOT_HELD),
    ],
)
def test_all_limits_must_be_held(verdict, result, slo, decision):
    assert verdict(result([1.0] * 1000), slo).decision is decision


@pytest.mark.parametrize(("over", "decision"), [(0, HELD), (1, NOT_HELD)])
def test_the_largest_latency_is_compared_as_it_is(verdict, result, over, decision):
    """Of p100, no number of requests says anything about further ones."""
    assert verdict(result(spread(over, 20)), "p100=5ms").decision is decision


def test_no_failure_is_allowed(verdict, result):
    found = verdict(result([1.0] * 1000, errors={"UNAVAILABLE": 3}))
    assert (found.decision, found.reasons) == (NOT_HELD, ("3 x UNAVAILABLE",))
    assert verdict(result([1.0] * 1000, errors={"DEADLINE_EXCEEDED": 1})).decision is NOT_HELD


def test_of_nothing_nothing_is_said(verdict, result):
    found = verdict(result([]))
    assert (found.decision, found.reasons) == (UNDECIDED, ("nothing was sent",))


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ({"lags": [8.5]}, "sends were late by 8.50 ms"),
        ({"cpu": 0.97}, "a generator kept 97% of its core busy"),
        ({"errors": {"NOT_SENT": 2}}, "2 requests had timed out before it could send them"),
    ],
)
def test_what_may_be_the_generator_is_not_held_against_the_server(verdict, result, made, reason):
    found = verdict(result([9.0] * 1000, **made))
    assert found.decision is UNDECIDED
    assert reason in found.text
    assert "p99: 1,000 of 1,000 over 5.00 ms" in found.text


def test_a_small_lag_that_decides_is_named(verdict, result):
    """5.5 ms, of which the generator added 0.9 ms: less than counts as late, and yet the reason."""
    found = verdict(result([5.5] * 1000, lags=[0.9]))
    assert found.decision is UNDECIDED
    assert found.limits[0].blames_generator
    assert "the generator sent late: counted from the actual sends, it may hold" in found.text
    assert verdict(result([6.0] * 1000, lags=[0.9])).decision is NOT_HELD
    assert verdict(result([5.5] * 1000, lags=[0.9]), "p100=5ms").decision is UNDECIDED


def test_what_is_held_stays_held_whatever_the_generator_did(verdict, result):
    assert verdict(result([4.0] * 1000, lags=[3.0], cpu=0.99)).decision is HELD


def test_failures_that_the_generator_cannot_cause_count_even_if_it_was_busy(verdict, result):
    assert verdict(result([1.0] * 1000, errors={"RESOURCE_EXHAUSTED": 1}, cpu=0.99)).decision is NOT_HELD


@pytest.mark.parametrize(
    ("over", "total", "text"),
    [
        (0, 459, "p99: 0 of 459 over 5.00 ms, at most 0 may be"),
        (
            1,
            100,
            "p99: 1 of 100 over 5.00 ms, which is too few requests to say; 662 requests, none of the further ones "
            "over, would show it",
        ),
        (50, 1000, "p99: 50 of 1,000 over 5.00 ms, a p99 of 5.00 ms would have about 10"),
    ],
)
def test_a_verdict_says_how_many_of_how_many(verdict, result, over, total, text):
    assert verdict(result(spread(over, total))).text == text


def counts(sent, over, slices=SLICES // 2, failed=0, over_from_send=None):
    """Counts at a look, evenly spread over its slices."""

    def row(total):
        return np.diff(np.linspace(0, total, slices + 1).astype(np.int64))

    from_send = over if over_from_send is None else over_from_send
    return LatencyCounts(row(sent), row(over)[None], row(from_send)[None], failed)


@pytest.mark.parametrize(
    ("look", "decided"),
    [
        (counts(2000, 0), True),
        (counts(2000, 0, slices=SLICES // 4), False),  # held is said at half of the time only
        (counts(500, 0), False),
        (counts(500, 100), True),
        (counts(500, 100, slices=SLICES // 8), True),
        (counts(500, 100, over_from_send=2), False),  # the generator may be the reason
        (counts(10, 0, failed=1), True),
        (counts(0, 0), False),
    ],
)
def test_a_load_ends_at_a_look_that_decides(look, decided):
    assert is_decided(look, parse_objective("p99=5ms")) is decided


@pytest.mark.parametrize(("look", "decision"), [(counts(2000, 0), HELD), (counts(500, 100), NOT_HELD)])
def test_the_verdict_is_that_of_the_look_which_ended_the_load(verdict, result, look, decision):
    found = verdict(result([1.0] * 5, look=look))
    assert found.decision is decision
    assert found.limits[0].sent == look.sent.sum()


def test_a_p100_is_not_held_at_a_look_but_may_fail_there():
    assert not is_decided(counts(2000, 0), parse_objective("p100=5ms"))
    assert is_decided(counts(2000, 1), parse_objective("p100=5ms"))


def test_bunches_are_named(verdict, result):
    latencies = np.full(6400, 1.0)
    for start in (100, 1700, 3300, 4900):
        latencies[start : start + 10] = 9.0
    found = verdict(result(latencies)).text
    assert found.startswith(
        "p99: 40 of 6,400 over 5.00 ms, in bunches, so that 9.6 of them say as much as one, at most 9 "
    )
