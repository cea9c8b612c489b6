"""Slopes in words."""

import pytest

from benchmarks.growth.slopes import describe_slope

XS = (1, 4, 16, 64, 256)


@pytest.mark.parametrize(
    ("costs", "words"),
    [
        ([20.0, 21.0, 20.5, 22.0, 21.0], "level, 20.0 to 22.0 µs, from 1 to 256"),
        ([3.0 * x for x in XS], "linear from 1 to 256: 3.00 µs a step"),
        ([x**2.0 for x in XS], "faster than linear, 1.00 to 65,500 µs, from 1 to 256: with the power 2.0"),
        ([x**0.5 for x in XS], "slower than linear, 1.00 to 16.0 µs, from 1 to 256: 0.0588 µs a step"),
        ([10.0 + x**0.5 * 10 for x in XS], "slower than linear, 20.0 to 170 µs, from 1 to 256: 0.588 µs a step"),
        (
            [100.0, 103.0, 115.0, 164.0, 356.0],
            "level, 100 to 115 µs, from 1 to 16; linear on top of a fixed cost, 115 to 356 µs, from 16 to 256: "
            "1.00 µs a step",
        ),
        ([900.0, 300.0, 90.0, 30.0, 10.0], "falls, 900 to 10.0 µs, from 1 to 256"),
        (
            [30.0, 31.0, 33.0, 120.0, 480.0],
            "level, 30.0 to 33.0 µs, from 1 to 16; linear from 16 to 256: 1.86 µs a step",
        ),
    ],
)
def test_stretches_of_one_kind_are_described_together(costs, words):
    assert describe_slope([*zip(XS, costs, strict=True)], "µs", "step") == words


def test_large_sizes_have_separators():
    assert describe_slope([(1000, 1.0), (4000, 4.0)], "ms", "model") == (
        "linear from 1,000 to 4,000: 0.00100 ms a model"
    )


def test_a_point_has_no_slope():
    assert describe_slope([(500, 6250.0)], "ms", "model") == "6,250 ms at 500; one point has no slope"
