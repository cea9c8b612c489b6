import numpy as np
import pytest

from rnnserve.load.even_draws import EvenSizes, draw_evenly, draw_rounds
from rnnserve.load.size_distribution import parse_size_distribution


@pytest.mark.parametrize("probabilities", [[1.0], [0.25] * 4, [0.7, 0.2, 0.1], [1 / 3, 2 / 3], [1e-9, 1 - 1e-9]])
@pytest.mark.parametrize("count", [1, 7, 512])
def test_each_choice_comes_as_often_as_its_probability_says(probabilities, count):
    for seed in range(20):
        drawn = draw_evenly(probabilities, count, np.random.default_rng(seed))
        counts = np.bincount(drawn, minlength=len(probabilities))
        assert counts.sum() == count
        assert (np.abs(counts - np.array(probabilities) * count) < 1).all()


def test_draws_differ_in_their_order():
    orders = {tuple(draw_evenly([0.25] * 4, 8, np.random.default_rng(seed)).tolist()) for seed in range(20)}
    assert len(orders) > 15


def test_choices_that_seldom_come_do_come():
    """Once in ten pools of ten, on average, if its probability is a hundredth."""
    drawn = [draw_evenly([0.99, 0.01], 10, np.random.default_rng(seed)).sum() for seed in range(1000)]
    assert 60 < sum(drawn) < 140


@pytest.mark.parametrize(("items", "fewest", "length"), [(1, 5, 5), (4, 9, 12), (20, 9, 20)])
def test_rounds_have_every_item_once(items, fewest, length):
    order = draw_rounds(items, fewest, np.random.default_rng(1))
    assert len(order) == length
    for start in range(0, length, items):
        assert sorted(order[start : start + items].tolist()) == list(range(items))


def test_sizes_come_in_equal_counts_however_many_are_drawn_at_once():
    sizes, random = EvenSizes(parse_size_distribution("1:64")), np.random.default_rng(1)
    drawn = np.concatenate([sizes.draw(random, count) for count in (1, 5, 250, 300, 212)])
    assert np.bincount(drawn, minlength=65).tolist() == [0] + [12] * 64
