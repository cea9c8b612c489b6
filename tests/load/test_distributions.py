"""Probabilities against those that scipy 1.17.1 computes."""

import pytest

from rnnserve.load.distributions import beta_regularized, binomial_at_least, binomial_at_most, student_quantile


@pytest.mark.parametrize(
    ("x", "a", "b", "expected"),
    [
        (0.99, 459, 1, 0.009920974201040579),
        (0.3, 2.5, 4.75, 0.4330432194600619),
        (0.999, 100_000, 90, 0.14422658816943754),
        (0.0, 2, 3, 0.0),
    ],
)
def test_regularized_incomplete_beta_function(x, a, b, expected):
    assert beta_regularized(x, a, b) == pytest.approx(expected, rel=1e-8)
    assert beta_regularized(1 - x, b, a) == pytest.approx(1 - expected, rel=1e-8)


@pytest.mark.parametrize(
    ("count", "trials", "probability", "at_most", "at_least"),
    [
        (3, 20, 0.1, 0.8670466765656649, 0.32307319481053404),
        (0, 459, 0.01, 0.009920974201040622, 1.0),
        (5, 5, 0.5, 1.0, 0.03125),
        (-1, 5, 0.5, 0.0, 1.0),
        (6, 5, 0.5, 1.0, 0.0),
    ],
)
def test_binomial_distribution(count, trials, probability, at_most, at_least):
    assert binomial_at_most(count, trials, probability) == pytest.approx(at_most, rel=1e-7)
    assert binomial_at_least(count, trials, probability) == pytest.approx(at_least, rel=1e-7)


@pytest.mark.parametrize(
    ("probability", "degrees", "expected"),
    [
        (0.975, 1, 12.706204736174694),
        (0.995, 14, 2.9768427343708344),
        (0.9, 2.5, 1.7302509288071766),
        (0.9995, 30, 3.6459586350420627),
    ],
)
def test_quantiles_of_student_s_t_distribution(probability, degrees, expected):
    assert student_quantile(probability, degrees) == pytest.approx(expected, rel=1e-9)
