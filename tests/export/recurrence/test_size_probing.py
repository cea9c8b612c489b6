"""At which sizes a module is tried again: usual ones, and the smallest ones that break a condition."""

import pytest
import sympy  # type: ignore[import-untyped]  # a dependency of torch

from rnnserve.export.recurrence.dynamic_axes import DynamicAxes
from rnnserve.export.recurrence.size_probing import _breaking, _kept_out, _usual_sizes

NAMES = ("a", "b", "c", "d", "e")
A, B, C, D, E = (sympy.Symbol(f"s{number}", positive=True, integer=True) for number in range(5))
SYMBOLS = dict(zip((A, B, C, D, E), NAMES, strict=True))


def axes(**sizes):
    return DynamicAxes((), sizes, (), ())


def test_each_size_is_tried_as_one_and_all_of_them_larger_odd_and_even():
    assert list(_usual_sizes(axes(batch=3, sequence=4))) == [
        {"batch": 1, "sequence": 4},
        {"batch": 3, "sequence": 1},
        {"batch": 7, "sequence": 10},
        {"batch": 8, "sequence": 11},
    ]


@pytest.mark.parametrize(
    ("guard", "sizes"),
    [
        (A > 1, {"a": 1}),
        (A <= 3, {"a": 4}),
        (sympy.Ne(A, B), {"a": 1, "b": 1}),
        (A >= B, {"a": 1, "b": 2}),
        (A + B >= C, {"a": 1, "b": 1, "c": 3}),
        (A + B + C >= D, {"a": 1, "b": 1, "c": 1, "d": 4}),
        (A + B + C + D >= E, {"a": 1, "b": 1, "c": 1, "d": 1, "e": 5}),
        (A < 100, {"a": 100}),
        (A <= 100, {"a": 101}),
        (sympy.Ne(A + 1, 100, evaluate=False), {"a": 99}),
        (sympy.Ne(A % 2, 0), {"a": 2}),
        (sympy.Ne(A % 64, 0), {"a": 64}),
        (A < 1 << 20, {"a": 1 << 20}),
    ],
)
def test_the_smallest_sizes_that_break_a_condition(guard, sizes):
    sample = dict.fromkeys(NAMES, 9)
    assert _breaking(guard, SYMBOLS, axes(**sample)) == sample | sizes


@pytest.mark.parametrize(
    "guard",
    [
        A >= 1,  # never broken
        A <= 1 << 20,  # broken by sizes only that no run has
        sympy.Symbol("u0") > 3,  # of a size that no axis has
        A + sympy.Symbol("u0") > 3,
    ],
)
def test_conditions_that_are_not_broken(guard):
    assert _breaking(guard, SYMBOLS, axes(**dict.fromkeys(NAMES, 9))) is None


@pytest.mark.parametrize(
    ("breaking", "guard", "advice"),
    [
        ({"a": 33}, A <= 32, 'at most so many: sizes={"a": (1, 32)}'),
        ({"a": 2}, A > 2, 'requests have more: sizes={"a": (3, None)}'),
        ({"a": 33, "b": 2}, A + B < 35, ""),
        ({"a": 4}, sympy.Ne(A % 4, 0), ""),  # so do 8 and 12
    ],
)
def test_advice_keeps_out_what_breaks_a_condition(breaking, guard, advice):
    sample = dict.fromkeys(NAMES, 9)
    said = _kept_out(sample | breaking, axes(**sample), guard, SYMBOLS)
    assert advice in said
    assert bool(said) == bool(advice)
