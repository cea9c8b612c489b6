from array import array

import numpy as np
import pytest

from kit.load_tests import metadata
from rnnserve.load.answer_checks import AnswerCheck
from rnnserve.load.generator import RequestSamples
from rnnserve.load.statistics import Durations, summarize_samples
from rnnserve.load.workload import RequestPool

CHECKS = {
    item: AnswerCheck(metadata(), None, range(rows), ["logits"], False) for item, rows in ((0, 1), (1, 3), (2, 2))
}
POOL = RequestPool(("a", "b"), [b""] * 3, np.array([0, 1, 0]), np.array([1, 3, 2]), CHECKS)


def summarize(*entries, begin=0, end=100):
    """Entries (due, sent, done, item, status) or, with a number of wrong rows, (…, wrong)."""
    rows = [entry if len(entry) == 6 else (*entry, -1) for entry in entries]
    names = {0: "OK", 4: "DEADLINE_EXCEEDED", 14: "UNAVAILABLE"}
    samples = RequestSamples(array("q", [number for row in rows for number in row]), names, {14: "gone"})
    return summarize_samples(samples, POOL, begin=begin, end=end)


def test_requests_due_in_the_warm_up_or_after_the_end_do_not_count():
    entries = ((5, 5, 90, 0, 0), (10, 12, 20, 0, 0), (20, 20, 130, 1, 0), (9, 9, 9, 0, 14), (101, 101, 105, 0, 0))
    result = summarize(*entries, begin=10)
    assert (result.sent, result.answered, dict(result.errors)) == (2, 2, {})
    assert (result.in_time, result.rows) == (1, 4), "a late answer is no throughput"
    assert (result.latencies().max, result.lags().max) == (110, 2)


def test_timeout_has_a_latency_but_other_failures_have_none():
    result = summarize((0, 0, 500, 0, 4), (0, 0, 1, 1, 14), (0, 0, 20, 1, 0))
    assert dict(result.errors) == {"DEADLINE_EXCEEDED": 1, "UNAVAILABLE": 1}
    assert result.details["UNAVAILABLE"] == "gone"
    assert (result.latencies().count, result.latencies().max) == (2, 500)
    assert [result.latencies(model).max for model in (0, 1)] == [500, 20]


def test_slow_requests_are_counted_from_due_and_send_times():
    result = summarize((0, 6, 10, 0, 0), (50, 50, 70, 0, 0), (99, 99, 99, 0, 14), (-5, 0, 90, 0, 0))
    assert [result.count_over(limit) for limit in (5, 15)] == [3, 2], "a failure is over every limit"
    assert [result.count_over(limit, from_send=True) for limit in (4, 5)] == [2, 2]


def test_wrong_rows_are_counted():
    compared = ((0, 0, 1, 0, 0, 0), (0, 0, 1, 1, 0, 2), (0, 0, 1, 1, 0), (0, 0, 1, 1, 0, 0), (0, 0, 1, 2, 0, 1))
    result = summarize(*compared)
    assert (result.compared, result.different) == (9, 3)
    assert summarize(*compared, begin=1).compared == 0, "the warm-up does not count"
    nothing = summarize()
    assert (nothing.sent, nothing.latencies().count, nothing.latencies().mean, nothing.compared) == (0, 0, 0, 0)


def test_percentile_is_the_smallest_duration_that_covers_its_share():
    durations = Durations(np.arange(1000, 0, -1))
    assert [durations.percentile(percent) for percent in (0, 50, 99, 99.9, 100)] == [1, 500, 990, 999, 1000]
    assert (durations.min, durations.max, durations.mean) == (1, 1000, 500.5)
    assert durations.deviation == pytest.approx(288.675)
    assert (Durations(np.empty(0, int)).percentile(99), Durations(np.empty(0, int)).buckets()) == (0, [])


def test_buckets_are_narrow_and_hold_all_durations():
    values = np.random.default_rng(1).exponential(1e7, 5000).astype(np.int64)
    buckets = Durations(values).buckets()
    assert sum(count for _, count in buckets) == 5000
    ends = np.array([end for end, _ in buckets])
    nearest = ends[np.searchsorted(ends, np.sort(values))]
    assert (np.abs(nearest - np.sort(values)) <= np.maximum(1, values.max() / 1000)).all()
    assert ((nearest - np.sort(values)) / np.maximum(np.sort(values), 2048) <= 1 / 1000).all()
