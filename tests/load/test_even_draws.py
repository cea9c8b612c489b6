import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rnnserve.load.even_draws import EvenSizes, draw_evenly, draw_rounds
from rnnserve.load.size_distribution import parse_size_distribution


@given(st.lists(st.floats(1e-9, 1), min_size=1, max_size=5), st.integers(1, 600), st.integers(0, 99))
def test_each_choice_comes_as_often_as_its_probability_says(weights, count, seed):
    probabilities = np.array(weights) / sum(weights)
    drawn = draw_evenly(probabilities.tolist(), count, np.random.default_rng(seed))
    counts = np.bincount(drawn, minlength=len(weights))
    assert counts.sum() == count
    assert (np.abs(counts - probabilities * count) < 1 + 1e-6).all()


def test_draws_differ_in_order_and_rare_choices_come():
    orders = {tuple(draw_evenly([0.25] * 4, 8, np.random.default_rng(seed)).tolist()) for seed in range(20)}
    assert len(orders) > 15
    drawn = [draw_evenly([0.99, 0.01], 10, np.random.default_rng(seed)).sum() for seed in range(1000)]
    assert 60 < sum(drawn) < 140  # once in ten pools of ten, on average


@given(st.integers(1, 20), st.integers(1, 30))
def test_rounds_have_every_item_once(items, fewest):
    order = draw_rounds(items, fewest, np.random.default_rng(1))
    assert fewest <= len(order) < fewest + items
    assert len(order) % items == 0
    for start in range(0, len(order), items):
        assert sorted(order[start : start + items].tolist()) == list(range(items))


def test_sizes_come_in_equal_counts_however_many_are_drawn_at_once():
    sizes, random = EvenSizes(parse_size_distribution("1:64")), np.random.default_rng(1)
    drawn = np.concatenate([sizes.draw(random, count) for count in (1, 5, 250, 300, 212)])
    assert np.bincount(drawn, minlength=65).tolist() == [0] + [12] * 64
