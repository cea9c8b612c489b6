"""Medians over rounds and ratios within them."""

import pytest

from benchmarks.metrics import median_of_rounds, median_ratio, percentile

ROUNDS = {
    "ours": [{"requests/s": 300.0}, {"requests/s": 100.0}, {"requests/s": 280.0}],
    "theirs": [{"requests/s": 150.0}, {"requests/s": 25.0}, {"requests/s": 200.0}],
    "saturated": [{"requests/s": 150.0}, {}, {"requests/s": 200.0}],
}


def test_a_median_is_over_the_rounds():
    assert median_of_rounds(ROUNDS, "ours", "requests/s") == 280.0


def test_a_ratio_is_taken_within_each_round_so_that_a_slow_round_does_not_decide():
    assert median_ratio(ROUNDS, "ours", "theirs", "requests/s") == 2.0  # the median of 2.0, 4.0 and 1.4


@pytest.mark.parametrize("server", ["saturated", "not asked"])
def test_a_round_without_a_figure_leaves_none(server):
    assert median_of_rounds(ROUNDS, server, "requests/s") is None
    assert median_ratio(ROUNDS, "ours", server, "requests/s") is None
    assert median_ratio(ROUNDS, server, "ours", "requests/s") is None


@pytest.mark.parametrize(("fraction", "expected"), [(0.5, 50), (0.99, 99), (0.995, 100), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_a_value_that_was_measured(fraction, expected):
    assert percentile([float(value) for value in range(100, 0, -1)], fraction) == expected
