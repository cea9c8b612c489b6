"""Exact plans of requests of different lengths: when a split is worth it, and where it is made."""

import pytest

from rnnserve.server.batching.cost import Cost
from rnnserve.server.batching.planning import plan_lengths


@pytest.mark.parametrize(
    ("padding", "groups"),
    [
        (0.25, [[0, 1]]),
        (0.5, [[0, 1]]),  # a split saves 3 of 15 seconds: exactly a fifth, which is not enough
        (0.5625, [[1], [0]]),
        (8.0, [[1], [0]]),
    ],
)
def test_a_split_must_save_more_than_a_fifth(padding, groups):
    """One run takes 1 + 10 + 8 * padding seconds, two runs 2 + 10."""
    cost = Cost(run=1.0, step=0.0, point=1.0, padding=padding)
    assert plan_lengths([9, 1], [1, 1], cost) == groups


@pytest.mark.parametrize(
    ("cost", "groups"),
    [
        # Apart there is a run and a step more than together, and 7 points of padding less.
        (Cost(run=0.0, step=0.0, point=0.0, padding=1.0), [[0], [1]]),
        (Cost(run=5.0, step=0.0, point=0.0, padding=1.0), [[0, 1]]),
        (Cost(run=0.0, step=5.0, point=0.0, padding=1.0), [[0, 1]]),
        (Cost(run=0.0, step=0.0, point=4.0, padding=1.0), [[0, 1]]),
        (Cost(run=2.0, step=0.25, point=0.25, padding=1.0), [[0], [1]]),
    ],
    ids=["nothing but padding", "a run", "a step", "points", "little of each"],
)
def test_what_a_split_saves_is_compared_with_all_that_a_run_costs(cost, groups):
    assert plan_lengths([1, 8], [1, 1], cost) == groups


def test_rows_count_each():
    cost = Cost(run=10.0, step=0.0, point=0.0, padding=1.0)
    assert plan_lengths([1, 3], [1, 1], cost) == [[0, 1]]
    assert plan_lengths([1, 3], [8, 1], cost) == [[0], [1]]
    assert plan_lengths([1, 3], [1, 8], cost) == [[0, 1]]


ONLY_PADDING = Cost(run=0.0, step=0.0, point=0.0, padding=1.0)


def test_eight_lengths_have_groups_of_their_own():
    assert plan_lengths([3, 5, 1, 3, 9, 11, 13, 7, 15], [1] * 9, ONLY_PADDING) == [
        [2], [0, 3], [1], [7], [4], [5], [6], [8],
    ]  # fmt: skip


def test_of_nine_lengths_the_two_longest_count_as_one():
    assert plan_lengths(range(1, 10), [1] * 9, ONLY_PADDING) == [[0], [1], [2], [3], [4], [5], [6], [7, 8]]


def test_of_sixteen_lengths_each_two_count_as_one():
    groups = [[at, at + 1] for at in range(0, 16, 2)]
    assert plan_lengths(range(1, 17), [1] * 16, ONLY_PADDING) == groups


def test_neighbours_by_length_share_a_run_in_the_order_of_their_arrival():
    cost = Cost(run=16.0, step=1.0, point=0.0, padding=1.0)
    lengths = [50, 3, 52, 100, 4, 51, 2, 99]
    assert plan_lengths(lengths, [1] * 8, cost) == [[1, 4, 6], [0, 2, 5], [3, 7]]


@pytest.mark.parametrize(
    ("max_points", "groups"),
    [
        (48, [[0, 1, 2, 3]]),
        (47, [[0, 1, 2], [3]]),
        (9, [[0, 1, 2], [3]]),
        (8, [[0, 1], [2], [3]]),
        (2, [[0], [1], [2], [3]]),
    ],
)
def test_a_run_has_no_more_points_than_it_may(max_points, groups):
    """3 + 3 + 3 + 39 rows' steps, padded to 3 and to 12."""
    cost = Cost(run=1e9, step=0.0, point=1.0, padding=1.0, max_points=max_points)
    assert plan_lengths([3, 3, 3, 12], [1, 1, 1, 1], cost) == groups


def test_rows_and_steps_after_a_cut_are_those_of_the_next_run():
    cost = Cost(run=1e9, step=0.0, point=1.0, padding=1.0, max_points=20)
    assert plan_lengths([10, 2, 2, 2, 5, 5], [3, 2, 4, 4, 1, 1], cost) == [[0], [1, 2, 3], [4, 5]]
