"""Counts start at 0 and grow by what was done."""

from rnnserve.server.batching.statistics import Statistics


def test_counts_start_at_nothing():
    statistics = Statistics()
    assert (statistics.requests, statistics.failures, statistics.dropped, statistics.rows, statistics.runs) == (0,) * 5
    assert (statistics.run_seconds, statistics.wait_seconds, statistics.last, statistics.sizes) == (0.0, 0.0, 0.0, {})
    assert statistics.failed_seconds == 0.0


def test_two_runs_are_the_sum_of_both(monkeypatch):
    statistics = Statistics()
    monkeypatch.setattr("time.time", lambda: 1234.5)
    statistics.record(requests=3, rows=4, run_seconds=0.5, wait_seconds=0.25)
    statistics.record(requests=1, rows=4, run_seconds=1.0, wait_seconds=2.0)
    statistics.record(requests=2, rows=2, run_seconds=0.125, wait_seconds=0.0)
    assert (statistics.requests, statistics.rows, statistics.runs) == (6, 10, 3)
    assert (statistics.run_seconds, statistics.wait_seconds) == (
        3 * 0.5 + 1.0 + 2 * 0.125,
        2.25,
    )  # a run counts for each request in it
    assert statistics.sizes == {4: (2, 1.5), 2: (1, 0.125)}
    assert statistics.last == 1234.5


def test_failures_and_dropped_requests_are_counted_apart():
    statistics = Statistics()
    statistics.record_failure(0.5)
    statistics.record_failure(0.25)
    statistics.record_dropped(2.0)
    assert (statistics.failures, statistics.dropped, statistics.requests, statistics.runs) == (2, 1, 0, 0)
    assert statistics.failed_seconds == 2.75
