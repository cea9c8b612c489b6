import pytest

from rnnserve.load.latency_counts import SLICES
from rnnserve.load.repetition import interval_of, pool_runs, run_intervals
from rnnserve.load.verdict import Decision


def test_interval_is_student_s():
    interval = interval_of([1, 2, 3, 4, 5], 0.99)
    assert (interval.mean, interval.values, interval.confidence) == (3, 5, 0.99)
    assert interval.high - 3 == 3 - interval.low == pytest.approx(3.2556, rel=1e-4)  # scipy 1.17.1


def test_runs_of_one_load_are_pooled(result):
    runs = [result([1.0] * 10, batches={2: 5}, cpu=0.2), result([9.0] * 30, batches={1: 1, 2: 5}, cpu=0.4)]
    other = result([1.0], rate=200)
    pooled, alone = pool_runs([runs[0], other, runs[1]])
    assert alone is other
    assert pooled.runs == tuple(runs)
    assert (pooled.statistics.sent, pooled.seconds, pooled.throughput) == (40, 2.0, 20.0)
    assert pooled.statistics.cpu == [pytest.approx(0.3)]
    assert pooled.batches == {1: 1, 2: 10}
    assert pooled.statistics.latency.count == 40
    assert pooled.statistics.counts.sent.shape == (2 * SLICES,)
    assert not pooled.cut_short


def test_intervals_are_over_runs(result):
    (pooled,) = pool_runs([result(range(1, 101)), result(range(101, 301))])
    intervals = run_intervals(pooled, 0.99)
    assert {name: interval.mean for name, interval in intervals.items()} == {
        "answers/s": 150,
        "mean": pytest.approx(125.5e6),
        "p50": pytest.approx(125e6, rel=1e-3),
        "p90": pytest.approx(185e6, rel=1e-3),
        "p99": pytest.approx(198.5e6, rel=1e-3),
    }
    assert run_intervals(result(), 0.99) == {}


def test_verdict_counts_all_runs(load_test, result):
    test = load_test([result([1.0] * 300), result([1.0] * 300)], "p99=5ms")
    assert test.decision is Decision.HELD
    assert load_test([result([1.0] * 300)], "p99=5ms").decision is Decision.UNDECIDED
