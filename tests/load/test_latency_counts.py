import numpy as np
import pytest

from rnnserve.load.latency_counts import SLICES, LatencyCounts, count_latencies, empty_counts
from rnnserve.load.verdict import judge

SECOND = 10**9


def count(latencies, *, lags=0, limits=(100,), failed=()):
    """Counts requests that were due evenly in a second; latencies in nanoseconds."""
    due = np.linspace(0, SECOND, len(latencies), endpoint=False).astype(np.int64)
    succeeded = ~np.isin(np.arange(len(latencies)), failed)
    return count_latencies(limits, due, due + lags, due + np.array(latencies), succeeded, begin=0, end=SECOND)


def test_requests_over_each_limit_are_counted_in_their_slice():
    latencies = np.full(SLICES * 2, 50)
    latencies[[0, 2, 3]] = [101, 100, 2000]
    counts = count(latencies, limits=(100, 1000))
    assert counts.sent.tolist() == [2] * SLICES
    assert counts.over[:, :3].tolist() == [[1, 1, 0], [0, 1, 0]]
    assert counts.over.sum() == 3


def test_a_failure_exceeds_every_limit():
    counts = count([1] * SLICES, failed=[3])
    assert np.flatnonzero(counts.over[0]).tolist() == [3]
    assert np.flatnonzero(counts.over_from_send[0]).tolist() == [3]


def test_without_the_generators_lag_fewer_are_over():
    counts = count([150] * SLICES, lags=60)
    assert (counts.over.sum(), counts.over_from_send.sum()) == (SLICES, 0)


def test_generators_add_up_and_runs_follow_one_another():
    one, other = count([150] * SLICES), count([1] * SLICES * 2)
    both = one + other
    assert (both.sent.tolist(), both.over.tolist()) == ([3] * SLICES, [[1] * SLICES])
    joined = LatencyCounts.joined([one, other])
    assert joined.sent.tolist() == [1] * SLICES + [2] * SLICES
    assert joined.over.shape == joined.over_from_send.shape == (1, 2 * SLICES)
    assert joined.until(SLICES).sent.tolist() == one.sent.tolist()
    assert empty_counts(2).over.shape == (2, SLICES)


def latencies_of(bunch, bunches, total=6400):
    """Latencies of which `bunches` times `bunch` that follow one another are over the limit."""
    latencies = np.full(total, 1)
    for start in np.linspace(0, total, bunches, endpoint=False).astype(int):
        latencies[start : start + bunch] = 1000
    return latencies


def test_independent_requests_count_as_they_are():
    random = np.random.default_rng(1)
    for _ in range(50):
        counts = count(np.where(random.random(6400) < 0.01, 1000, 1))
        assert counts.bunching(counts.over[0]) == 1


@pytest.mark.parametrize("bunch", [10, 50, 100])
def test_of_requests_that_one_stall_delayed_about_one_counts(bunch):
    counts = count(latencies_of(bunch, 4))
    assert counts.bunching(counts.over[0]) == pytest.approx(bunch, rel=0.1)


@pytest.mark.parametrize("latencies", [[1] * 640, [1000] * 640, [1000, 1000, *[1] * 5]])
def test_all_or_none_or_too_few_slices_are_no_bunches(latencies):
    counts = count(latencies)
    assert counts.bunching(counts.over[0]) == 1


def test_a_stall_is_one_event_in_the_verdict(load_test, result):
    """Of 6,400 requests 40 exceed the limit: enough for "held" if they are independent, not if four stalls did it."""
    random, spread = np.random.default_rng(3), np.full(6400, 1.0)
    spread[random.choice(6400, 40, replace=False)] = 9.0
    stalls = latencies_of(10, 4).clip(1, 9).astype(float)
    assert (spread > 5).sum() == (stalls > 5).sum() == 40
    for latencies, decision in ((spread, "held"), (stalls, "undecided")):
        test = load_test([result(latencies)], "p99=5ms")
        assert judge(test.results[0], test.objective).decision == decision
