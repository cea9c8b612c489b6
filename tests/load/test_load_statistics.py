from array import array
from typing import Any

import numpy as np

from rnnserve.load.load_statistics import LoadStatistics, summarize_samples
from rnnserve.load.samples import RequestSamples
from rnnserve.load.workload import RequestPool

POOL = RequestPool(("a", "b"), [b"", b""], np.array([0, 1]), np.array([1, 3]), [None, None])
COLUMNS = ("due", "sent", "done", "item", "status", "compared")


def samples(*entries):
    """Entries (due, sent, done, item, status) or, with what a comparison gave, (…, compared)."""
    rows = [entry if len(entry) == 6 else (*entry, 0) for entry in entries]
    arrays = [array("q", column) for column in zip(*rows, strict=True)]
    columns: dict[str, Any] = dict(zip(COLUMNS, arrays, strict=True))
    return RequestSamples(**columns, names={4: "DEADLINE_EXCEEDED", 14: "UNAVAILABLE"}, details={14: "gone"})


def test_requests_due_in_the_warm_up_or_after_the_end_do_not_count():
    entries = ((5, 5, 90, 0, 0), (10, 12, 20, 0, 0), (20, 20, 130, 1, 0), (9, 9, 9, 0, 14), (101, 101, 105, 0, 0))
    result = summarize_samples(samples(*entries), POOL, begin=10, end=100)
    assert (result.sent, result.answered, dict(result.errors)) == (2, 2, {})
    assert (result.in_time, result.rows) == (1, 4), "a late answer is no throughput"
    assert (result.latency.max, result.lag.max) == (110, 2)


def test_timeout_has_a_latency_but_other_failures_have_none():
    result = summarize_samples(samples((0, 0, 500, 0, 4), (0, 0, 1, 1, 14), (0, 0, 20, 1, 0)), POOL, begin=0, end=100)
    assert dict(result.errors) == {"DEADLINE_EXCEEDED": 1, "UNAVAILABLE": 1}
    assert result.details["UNAVAILABLE"] == "gone"
    assert (result.latency.count, result.latency.max) == (2, 500)
    assert {model: histogram.max for model, histogram in result.latency_of.items()} == {"a": 500, "b": 20}


def test_statistics_of_generators_add_up():
    one = summarize_samples(samples((0, 1, 10, 0, 0), (0, 0, 1, 0, 14)), POOL, begin=0, end=100)
    one.cpu = [0.25]
    other = summarize_samples(samples((0, 3, 30, 1, 0)), POOL, begin=0, end=100)
    other.cpu = [0.5]
    both = LoadStatistics.merged([one, other])
    assert (both.sent, both.answered, both.in_time, both.rows) == (3, 2, 2, 4)
    assert (both.latency.count, both.lag.max, both.cpu) == (2, 3, [0.25, 0.5])
    assert set(both.latency_of) == {"a", "b"}
    assert both.errors == {"UNAVAILABLE": 1}


def test_requests_over_each_limit_are_counted():
    entries = ((0, 6, 10, 0, 0), (50, 50, 70, 0, 0), (99, 99, 99, 0, 14), (-5, 0, 90, 0, 0))
    result = summarize_samples(samples(*entries), POOL, begin=0, end=100, limits=(5, 15))
    assert result.counts.sent.sum() == 3
    assert result.counts.over.sum(axis=1).tolist() == [3, 2]
    assert result.counts.over_from_send.sum(axis=1).tolist() == [2, 2]
    both = LoadStatistics.merged([result, result])
    assert both.counts.over.sum(axis=1).tolist() == [6, 4]


def test_parts_of_the_time_have_figures_of_their_own():
    """Latencies by the part in which requests were due, answers by the part in which they arrived."""
    entries = ((0, 0, 15, 0, 0), (13, 13, 14, 0, 0), (99, 99, 99, 0, 0), (99, 99, 150, 0, 0), (50, 50, 50, 0, 14))
    result = summarize_samples(samples(*entries), POOL, begin=0, end=104)
    assert [histogram.count for histogram in result.part_latency] == [1, 1, 0, 0, 0, 0, 0, 2]
    assert result.part_answers.tolist() == [0, 2, 0, 0, 0, 0, 0, 1]
    both = LoadStatistics.merged([result, result])
    assert both.part_answers.tolist() == [0, 4, 0, 0, 0, 0, 0, 2]
    assert both.part_latency[7].count == 4


def test_rows_of_answers_that_were_compared_are_counted():
    compared = samples((0, 0, 1, 0, 0, 1), (0, 0, 1, 1, 0, 2), (0, 0, 1, 1, 0, 0), (0, 0, 1, 1, 0, 1))
    result = summarize_samples(compared, POOL, begin=0, end=100)
    assert (result.compared, result.different, result.faults) == (7, 3, 3)
    both = LoadStatistics.merged([result, result])
    assert (both.compared, both.different) == (14, 6)
    late = summarize_samples(compared, POOL, begin=1, end=100)
    assert (late.compared, late.different) == (0, 0), "warm-up does not count"
    nothing = summarize_samples(RequestSamples(), POOL, begin=0, end=1)
    assert (nothing.sent, nothing.latency.count, nothing.latency.mean, nothing.checked) == (0, 0, 0, 0)
