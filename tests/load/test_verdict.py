import argparse

import numpy as np
import pytest

from rnnserve.load.load_level import LatencyLimit, parse_objective
from rnnserve.load.verdict import Decision, judge

MET, MISSED, INCONCLUSIVE = Decision.MET, Decision.MISSED, Decision.INCONCLUSIVE


def verdict(result, slo="p99=5ms", confidence=0.99):
    return judge(result, parse_objective(slo, confidence))


def slow(over, total):
    """Latencies of which some exceed 5 ms."""
    return np.where(np.arange(total) < over, 9.0, 1.0)


def test_objective_is_percentiles_and_durations():
    found = parse_objective("p50=500us, p99.9=20ms,p100=1s")
    assert found.limits == (LatencyLimit(50, 500_000), LatencyLimit(99.9, 20_000_000), LatencyLimit(100, 10**9))
    assert [limit.allowed for limit in found.limits] == [0.5, 0.001, 0]
    for text in ("", "5ms", "p99", "p99=5", "p99=0ms", "p101=5ms", "p99=-5ms", "p99=5min", "p99=ms"):
        with pytest.raises(argparse.ArgumentTypeError):
            parse_objective(text)


@pytest.mark.parametrize(
    ("over", "total", "decision", "text"),
    [
        (0, 527, INCONCLUSIVE, "0 of 527 requests took longer than 5.00 ms, which is 0% to 1% with 99% confidence"),
        (0, 528, MET, "; p99 allows 1%"),
        (1, 20, INCONCLUSIVE, "Send more requests"),
        (4, 20, MISSED, "4 of 20 requests took longer than 5.00 ms"),
        (10, 1000, INCONCLUSIVE, "10 of 1,000 requests took longer than 5.00 ms, which is 0.37% to 2.1%"),
        (50, 1000, MISSED, "50 of 1,000 requests took longer than 5.00 ms, which is 3.4% to 7.1%"),
    ],
)
def test_objective_is_met_missed_or_inconclusive_by_the_interval(result, over, total, decision, text):
    found = verdict(result(slow(over, total)))
    assert found.decision is decision
    assert (found.limits[0].sent, found.limits[0].over) == (total, over)
    assert text in found.text


def test_all_limits_must_be_met(result):
    for slo, decision in (
        ("p50=2ms,p99=5ms", MET),
        ("p50=2ms,p99=500us", MISSED),
        ("p50=2ms,p99.9=5ms", INCONCLUSIVE),
        ("p50=500us,p99.9=5ms", MISSED),
    ):
        assert verdict(result([1.0] * 1000), slo).decision is decision


def test_p100_is_compared_with_the_largest_latency(result):
    assert verdict(result(slow(0, 20)), "p100=5ms").decision is MET
    found = verdict(result(slow(1, 20)), "p100=5ms")
    assert (found.decision, found.text) == (MISSED, "1 of 20 requests took longer than 5.00 ms; p100 allows none")


def test_failures_miss_the_objective_at_any_latency(result):
    found = verdict(result([1.0] * 1000, errors={"UNAVAILABLE": 3}))
    assert (found.decision, found.reasons) == (MISSED, ("3 x UNAVAILABLE",))
    assert verdict(result([1.0] * 1000, errors={"DEADLINE_EXCEEDED": 1})).decision is MISSED
    assert verdict(result([1.0] * 1000, errors={"RESOURCE_EXHAUSTED": 1}, cpu=0.99)).decision is MISSED
    found = verdict(result([]))
    assert (found.decision, found.reasons) == (INCONCLUSIVE, ("no request was sent",))


@pytest.mark.parametrize("made", [{"lags": [8.5]}, {"cpu": 0.97}, {"errors": {"NOT_SENT": 2}}])
def test_late_generator_makes_the_verdict_inconclusive(result, made):
    found = verdict(result([9.0] * 1000, **made))
    assert found.decision is INCONCLUSIVE
    assert "the load generator may be the bottleneck; " in found.text
    made.pop("errors", None)
    assert verdict(result([4.0] * 1000, **made)).decision is MET


def test_small_lag_that_decides_the_verdict_is_named(result):
    """5.5 ms, of which the generator added 0.9 ms: less than counts as late, and yet the reason."""
    found = verdict(result([5.5] * 1000, lags=[0.9]))
    assert found.decision is INCONCLUSIVE
    assert found.limits[0].may_be_the_generator
    assert "the generator sent late" in found.text
    assert verdict(result([6.0] * 1000, lags=[0.9])).decision is MISSED
    assert verdict(result([5.5] * 1000, lags=[0.9]), "p100=5ms").decision is INCONCLUSIVE
