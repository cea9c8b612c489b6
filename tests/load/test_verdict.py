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
    ("over", "total", "decision", "text"),
    [
        (0, 458, UNDECIDED, "too few requests to say"),
        (0, 459, HELD, "p99: 0 of 459 over 5.00 ms, at most 0 may be"),
        (1, 661, UNDECIDED, "662 requests, none of the further ones over, would show it"),
        (1, 662, HELD, "at most 1 may be"),
        (1, 20, UNDECIDED, "p99: 1 of 20 over 5.00 ms, which is too few requests to say"),
        (4, 20, NOT_HELD, "p99: 4 of 20 over 5.00 ms"),
        (10, 1000, UNDECIDED, "p99: 10 of 1,000 over 5.00 ms"),
        (50, 1000, NOT_HELD, "p99: 50 of 1,000 over 5.00 ms, a p99 of 5.00 ms would have about 10"),
    ],
)
def test_objective_is_held_not_held_or_undecided(verdict, result, over, total, decision, text):
    found = verdict(result(spread(over, total)))
    assert found.decision is decision
    assert (found.limits[0].sent, found.limits[0].over) == (total, over)
    assert text in found.text


def test_more_confidence_and_looks_take_more_requests(verdict, result):
    assert verdict(result(spread(0, 300)), confidence=0.95).decision is HELD
    assert verdict(result(spread(0, 459)), confidence=0.999).decision is UNDECIDED
    looks = {"has_looks": True}  # which take a part of the risk
    assert verdict(result(spread(0, 468), settings=looks)).decision is UNDECIDED
    assert verdict(result(spread(0, 469), settings=looks)).decision is HELD


def test_all_limits_must_be_held(verdict, result):
    for slo, decision in (
        ("p50=2ms,p99=5ms", HELD),
        ("p50=2ms,p99=500us", NOT_HELD),
        ("p50=2ms,p99.9=5ms", UNDECIDED),
        ("p50=500us,p99.9=5ms", NOT_HELD),
    ):
        assert verdict(result([1.0] * 1000), slo).decision is decision


def test_p100_is_compared_with_the_largest_latency(verdict, result):
    """No number of requests says anything about further ones."""
    assert verdict(result(spread(0, 20)), "p100=5ms").decision is HELD
    assert verdict(result(spread(1, 20)), "p100=5ms").decision is NOT_HELD


def test_failures_are_not_held_whatever_the_latencies(verdict, result):
    found = verdict(result([1.0] * 1000, errors={"UNAVAILABLE": 3}))
    assert (found.decision, found.reasons) == (NOT_HELD, ("3 x UNAVAILABLE",))
    assert verdict(result([1.0] * 1000, errors={"DEADLINE_EXCEEDED": 1})).decision is NOT_HELD
    assert verdict(result([1.0] * 1000, errors={"RESOURCE_EXHAUSTED": 1}, cpu=0.99)).decision is NOT_HELD
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
def test_fault_of_the_generator_is_not_held_against_the_server(verdict, result, made, reason):
    found = verdict(result([9.0] * 1000, **made))
    assert found.decision is UNDECIDED
    assert reason in found.text
    assert "p99: 1,000 of 1,000 over 5.00 ms" in found.text
    made.pop("errors", None)
    assert verdict(result([4.0] * 1000, **made)).decision is HELD


def test_small_lag_that_decides_is_named(verdict, result):
    """5.5 ms, of which the generator added 0.9 ms: less than counts as late, and yet the reason."""
    found = verdict(result([5.5] * 1000, lags=[0.9]))
    assert found.decision is UNDECIDED
    assert found.limits[0].blames_generator
    assert "the generator sent late: counted from the actual sends, it may hold" in found.text
    assert verdict(result([6.0] * 1000, lags=[0.9])).decision is NOT_HELD
    assert verdict(result([5.5] * 1000, lags=[0.9]), "p100=5ms").decision is UNDECIDED


def counts(sent, over, slices=SLICES // 2, failed=0, over_from_send=None):
    """Counts at a look, evenly spread over its slices."""

    def row(total):
        return np.diff(np.linspace(0, total, slices + 1).astype(np.int64))

    from_send = over if over_from_send is None else over_from_send
    return LatencyCounts(row(sent), row(over)[None], row(from_send)[None], failed)


@pytest.mark.parametrize(
    ("look", "slo", "decided"),
    [
        (counts(2000, 0), "p99=5ms", True),
        (counts(2000, 0, slices=SLICES // 4), "p99=5ms", False),  # held is said at half of the time only
        (counts(500, 0), "p99=5ms", False),
        (counts(500, 100, slices=SLICES // 8), "p99=5ms", True),
        (counts(500, 100, over_from_send=2), "p99=5ms", False),  # the generator may be the reason
        (counts(10, 0, failed=1), "p99=5ms", True),
        (counts(0, 0), "p99=5ms", False),
        (counts(2000, 0), "p100=5ms", False),
        (counts(2000, 1), "p100=5ms", True),
    ],
)
def test_load_ends_at_a_look_that_decides(look, slo, decided):
    assert is_decided(look, parse_objective(slo)) is decided


def test_verdict_is_that_of_the_look_which_ended_the_load(verdict, result):
    for look, decision in ((counts(2000, 0), HELD), (counts(500, 100), NOT_HELD)):
        found = verdict(result([1.0] * 5, look=look))
        assert found.decision is decision
        assert found.limits[0].sent == look.sent.sum()
