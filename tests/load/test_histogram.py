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


@given(DURATIONS, st.sampled_from([0, 0.5, 10, 50, 90, 99, 99.9, 100]))
def test_percentile_is_at_most_a_thousandth_above_numpy_s(values, percent):
    found = recorded(values).percentile(percent)
    exact = np.percentile(values, percent, method="inverted_cdf")
    assert exact <= found <= exact * (1 + 1 / 1024)


@given(DURATIONS)
def test_count_sum_and_extremes_are_exact(values):
    histogram = recorded(values)
    assert (histogram.count, histogram.total) == (len(values), sum(values))
    assert (histogram.min, histogram.max) == (min(values), max(values))
    assert histogram.mean == pytest.approx(sum(values) / len(values))
    assert histogram.percentile(100) == max(values)


@given(DURATIONS, DURATIONS)
def test_merging_and_pickling_equal_recording_together(first, second):
    merged = Histogram.merged([recorded(first), Histogram(), pickle.loads(pickle.dumps(recorded(second)))])
    together = recorded(first + second)
    assert merged.buckets() == together.buckets()
    assert (merged.count, merged.total, merged.min, merged.max) == (
        together.count,
        together.total,
        together.min,
        together.max,
    )


@given(st.integers(0, 2**44))
def test_value_is_in_the_bucket_that_ends_at_or_after_it(value):
    ((last, count),) = recorded([value]).buckets()
    assert count == 1
    assert value <= last <= value * (1 + 1 / 1024)


def test_empty_histogram_has_zeros_and_negative_durations_count_as_0():
    histogram = recorded([])
    assert (histogram.count, histogram.mean, histogram.percentile(99), histogram.max) == (0, 0, 0, 0)
    assert (histogram.buckets(), histogram.deviation) == ([], 0)
    assert recorded([-5, 3]).buckets() == [(0, 1), (3, 1)]
    assert len(pickle.dumps(recorded([100_000] * 1000))) < 80_000


def test_deviation_and_slowest_are_those_of_the_durations():
    durations = np.random.default_rng(1).exponential(5e6, 10_000).astype(np.int64)
    assert recorded(durations).deviation == pytest.approx(durations.std(), rel=1e-3)
    assert recorded(np.full(7, 1000)).deviation == 0
    assert [recorded(np.arange(1, 101)).largest_but(discarded) for discarded in (0, 1, 99)] == [100, 99, 1]
