"""Probabilities of the binomial and Student's t distributions, by the regularized incomplete beta function.

Written by hand, since the client's only package for numbers is numpy, which has no such functions.
"""

import math

__all__ = ["beta_regularized", "binomial_at_least", "binomial_at_most", "student_quantile"]

_TINY = 1e-300
_PRECISION = 1e-14
_STEP = 1e-12
"""Of a quantile: the part of it by which the last step towards it changes it, at most."""


def beta_regularized(x: float, a: float, b: float) -> float:
    """Return the regularized incomplete beta function I_x(a, b), for 0 <= x <= 1 and a, b > 0.

    By the continued fraction of https://dlmf.nist.gov/8.17.E22, evaluated by Lentz's method.
    """
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side only
        return 1 - beta_regularized(1 - x, b, a)
    logarithm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(logarithm) * _beta_fraction(x, a, b) / a


def _beta_fraction(x: float, a: float, b: float) -> float:
    """Evaluate 1 / (1 + d_1 / (1 + d_2 / (1 + ...))), with the coefficients of https://dlmf.nist.gov/8.17.E23."""
    # A sum of 1 and another number is 0 or far from it, where `_TINY` stands for it.
    numerator, denominator = 1.0, 1 / (1 - (a + b) * x / (a + 1) or _TINY)
    result = denominator
    step, change = 1, 0.0
    while abs(change - 1) > _PRECISION:
        for coefficient in (
            step * (b - step) * x / ((a + 2 * step - 1) * (a + 2 * step)),
            -(a + step) * (a + b + step) * x / ((a + 2 * step) * (a + 2 * step + 1)),
        ):
            denominator = 1 / (1 + coefficient * denominator or _TINY)
            numerator = 1 + coefficient / numerator or _TINY
            change = numerator * denominator
            result *= change
        step += 1
    return result


def binomial_at_most(count: int, trials: int, probability: float) -> float:
    """Return the probability of `count` or fewer events in `trials`, each with a probability."""
    if count < 0:
        return 0.0
    return 1.0 if count >= trials else beta_regularized(1 - probability, trials - count, count + 1)


def binomial_at_least(count: int, trials: int, probability: float) -> float:
    """Return the probability of `count` or more events in `trials`, each with a probability."""
    if count <= 0:
        return 1.0
    return 0.0 if count > trials else beta_regularized(probability, count, trials - count + 1)


def student_quantile(probability: float, degrees: float) -> float:
    """Return the value that Student's t distribution does not exceed with a probability of 0.5 or more, below 1.

    Args:
        probability: Probability of a value up to the quantile.
        degrees: Degrees of freedom, above 0; need not be whole.
    """
    low, high = 0.0, 1.0
    while _student_at_most(high, degrees) < probability:
        low, high = high, high * 2
    value = (low + high) / 2
    while True:
        over = _student_at_most(value, degrees) - probability
        low, high = (value, high) if over < 0 else (low, value)
        before, value = value, value - over / _student_density(value, degrees)  # Newton's step
        if not low < value < high:
            value = (low + high) / 2
        if abs(value - before) <= _STEP * value:
            return value


def _student_at_most(value: float, degrees: float) -> float:
    return 1 - beta_regularized(degrees / (degrees + value * value), degrees / 2, 0.5) / 2


def _student_density(value: float, degrees: float) -> float:
    logarithm = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)
    logarithm -= (degrees + 1) / 2 * math.log1p(value * value / degrees)
    return math.exp(logarithm) / math.sqrt(degrees * math.pi)
