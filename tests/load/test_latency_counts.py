import numpy as np
import pytest

from rnnserve.load.latency_counts import SLICES, LatencyCounts, count_latencies, empty_counts
from rnnserve.load.verdict import judge

SECOND = 10**9


def count(latencies, *, lags=0, limits=(100,), failed=()):
    """Counts requests that were due evenly in a second. Latencies in nanoseconds."""
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


def test_failure_exceeds_every_limit_and_lag_is_told_apart():
    counts = count([1] * SLICES, failed=[3])
    assert np.flatnonzero(counts.over[0]).tolist() == [3]
    assert np.flatnonzero(counts.over_from_send[0]).tolist() == [3]
    counts = count([150] * SLICES, lags=60)
    assert (counts.over.sum(), counts.over_from_send.sum()) == (SLICES, 0)


def test_counts_of_generators_add_up_and_those_of_runs_are_joined():
    one, other = count([150] * SLICES), count([1] * SLICES * 2)
    both = one + other
    assert (both.sent.tolist(), both.over.tolist()) == ([3] * SLICES, [[1] * SLICES])
    joined = LatencyCounts.joined([one, other])
    assert joined.sent.tolist() == [1] * SLICES + [2] * SLICES
    assert joined.over.shape == joined.over_from_send.shape == (1, 2 * SLICES)
    assert joined.until(SLICES).sent.tolist() == one.sent.tolist()
    assert empty_counts(2).over.shape == (2, SLICES)


def latencies_of(bunch, bunches, total=6400):
    """Latencies of which `bunches` times `bunch` successive ones exceed the limit."""
    latencies = np.full(total, 1)
    for start in np.linspace(0, total, bunches, endpoint=False).astype(int):
        latencies[start : start + bunch] = 1000
    return latencies


def test_independent_requests_are_no_bunches():
    random = np.random.default_rng(1)
    for _ in range(50):
        counts = count(np.where(random.random(6400) < 0.01, 1000, 1))
        assert counts.bunching(counts.over[0]) == 1
    for latencies in ([1] * 640, [1000] * 640, [1000, 1000, *[1] * 5]):
        counts = count(latencies)
        assert counts.bunching(counts.over[0]) == 1


def test_stall_is_one_event_in_the_verdict(load_test, result):
    """Of 6,400 requests 40 exceed the limit: enough for "held" if they are independent, not if four stalls did it."""
    random, spread = np.random.default_rng(3), np.full(6400, 1.0)
    spread[random.choice(6400, 40, replace=False)] = 9.0
    stalls = latencies_of(10, 4).clip(1, 9).astype(float)
    counts = count(latencies_of(10, 4))
    assert counts.bunching(counts.over[0]) == pytest.approx(10, rel=0.1)
    for latencies, decision in ((spread, "held"), (stalls, "undecided")):
        test = load_test([result(latencies)], "p99=5ms")
        found = judge(test.results[0], test.objective)
        assert found.decision == decision
        assert ("in bunches, so that 9.6 of them say as much as one, at most 9 " in found.text) == (latencies is stalls)
