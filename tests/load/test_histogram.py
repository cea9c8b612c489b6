import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnserve.load.histogram import Histogram

DURATIONS = st.lists(st.integers(0, 2**44), min_size=1, max_size=50)


def recorded(values):
    histogram = Histogram()
    histogram.record(np.array(values, np.int64))
    return histogram


@given(DURATIONS, st.floats(0, 100))
def test_percentiles_are_exact_to_a_thousandth_and_never_too_low(values, percent):
    found = recorded(values).percentile(percent)
    exact = sorted(values)[max(1, int(np.ceil(percent / 100 * len(values) - 1e-9))) - 1]
    assert exact <= found <= exact * (1 + 1 / 1024)


@given(DURATIONS)
def test_count_sum_and_extremes_are_exact(values):
    histogram = recorded(values)
    assert (histogram.count, histogram.total) == (len(values), sum(values))
    assert (histogram.min, histogram.max) == (min(values), max(values))
    assert histogram.mean == pytest.approx(sum(values) / len(values))
    assert histogram.percentile(100) == max(values)


@given(DURATIONS, DURATIONS)
def test_merging_equals_recording_together(first, second):
    merged = Histogram.merged([recorded(first), Histogram(), recorded(second)])
    together = recorded(first + second)
    assert merged.buckets() == together.buckets()
    assert (merged.count, merged.total, merged.min, merged.max) == (
        together.count,
        together.total,
        together.min,
        together.max,
    )


@given(DURATIONS)
def test_a_value_is_in_the_bucket_that_ends_at_or_after_it(values):
    for value in values:
        ((last, count),) = recorded([value]).buckets()
        assert count == 1
        assert value <= last <= value * (1 + 1 / 1024)


@given(DURATIONS)
def test_pickles_hold_everything(values):
    histogram = recorded(values)
    back = pickle.loads(pickle.dumps(histogram))
    assert back.buckets() == histogram.buckets()
    back.merge(histogram)
    assert back.count == 2 * len(values)


def test_a_pickle_takes_what_the_durations_need():
    assert len(pickle.dumps(recorded([100_000] * 1000))) < 80_000


def test_what_is_negative_counts_as_nothing():
    histogram = recorded([-5, 3])
    assert histogram.buckets() == [(0, 1), (3, 1)]


def test_an_empty_one_knows_nothing():
    histogram = recorded([])
    assert (histogram.count, histogram.mean, histogram.percentile(99), histogram.max) == (0, 0, 0, 0)
    assert histogram.buckets() == []
    assert pickle.loads(pickle.dumps(histogram)).count == 0


def test_the_deviation_is_that_of_the_durations():
    durations = np.random.default_rng(1).exponential(5e6, 10_000).astype(np.int64)
    histogram = Histogram()
    assert histogram.deviation == 0
    histogram.record(durations)
    assert histogram.deviation == pytest.approx(durations.std(), rel=1e-3)
    same = Histogram()
    same.record(np.full(7, 1000))
    assert same.deviation == 0


def test_the_slowest_can_be_discarded():
    histogram = Histogram()
    histogram.record(np.arange(1, 101))
    assert [histogram.largest_but(discarded) for discarded in (0, 1, 99)] == [100, 99, 1]
