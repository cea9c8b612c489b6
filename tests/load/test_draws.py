import argparse

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnserve.load.draws import (
    draw_evenly,
    draw_rounds,
    draw_schedule,
    parse_size_distribution,
    parse_weight,
)


def test_sizes_are_one_a_range_or_weighted():
    for text, sizes, probabilities in (
        ("16", (16,), (1,)),
        ("2:4", (2, 3, 4), (1 / 3, 1 / 3, 1 / 3)),
        ("7:7", (7,), (1,)),
        ("4=3,16=1", (4, 16), (0.75, 0.25)),
        ("1, 2=0.5", (1, 2), (2 / 3, 1 / 3)),
    ):
        distribution = parse_size_distribution(text)
        assert distribution.sizes == sizes
        assert distribution.probabilities == pytest.approx(probabilities)
    assert [parse_weight("a=3"), parse_weight("b")] == [("a", 3.0), ("b", 1.0)]


def test_other_sizes_are_refused():
    for text in ("", "0", "-1", "4:", ":4", "5:4", "a", "4=0", "4=-1", "4=inf", "4=nan", "1.5"):
        with pytest.raises(argparse.ArgumentTypeError):
            parse_size_distribution(text)


@given(st.lists(st.floats(1e-9, 1), min_size=1, max_size=5), st.integers(1, 600), st.integers(0, 99))
def test_draws_match_the_probabilities(weights, count, seed):
    probabilities = np.array(weights) / sum(weights)
    drawn = draw_evenly(probabilities.tolist(), count, np.random.default_rng(seed))
    counts = np.bincount(drawn, minlength=len(weights))
    assert counts.sum() == count
    assert (np.abs(counts - probabilities * count) < 1 + 1e-6).all()


@given(st.integers(1, 20), st.integers(1, 30))
def test_each_round_contains_every_item_once(items, fewest):
    order = draw_rounds(items, fewest, np.random.default_rng(1))
    assert fewest <= len(order) < fewest + items
    assert len(order) % items == 0
    for start in range(0, len(order), items):
        assert sorted(order[start : start + items].tolist()) == list(range(items))


def drawn(arrivals, rate, seconds, parts=1):
    """The schedule of each generator."""
    return [
        draw_schedule(arrivals, rate, seconds, random=np.random.default_rng((5, part)), part=part, parts=parts)
        for part in range(parts)
    ]


def test_constant_arrivals_are_evenly_spaced_across_generators():
    assert drawn("constant", 4, 1)[0].tolist() == [0, 250_000_000, 500_000_000, 750_000_000]
    for parts in (2, 3, 5):
        together = np.sort(np.concatenate(drawn("constant", 1000, 2, parts)))
        np.testing.assert_array_equal(together, drawn("constant", 1000, 2)[0])


@pytest.mark.parametrize("parts", [1, 3])
def test_poisson_arrivals_have_the_rate_and_exponential_gaps(parts):
    gaps = np.diff(np.sort(np.concatenate(drawn("poisson", 1000, 60, parts))))
    assert len(gaps) == pytest.approx(60_000, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(1, rel=0.05)
