"""Which requests share a run: the cheapest grouping, and for a queue those of the nearest lengths, as many as pay."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.checked_requests import checked_request, signature
from rnnserve.server.batching.execution import _WORTH as WORTH
from rnnserve.server.batching.execution import Cost, plan, plan_lengths
from rnnserve.server.batching.waiting_queue import similar_to_first
from rnnserve.server.validation.signature import Batching, CheckedRequest

NO_RUN = Cost(run=0.0, step=0.0, point=1.0, padding=1.0)
ONLY_PADDING = Cost(run=0.0, step=0.0, point=0.0, padding=1.0)
CHEAP_PADDING = Cost(run=1e9, step=0.0, point=1.0, padding=0.0)
SIZES = st.tuples(st.integers(1, 64), st.integers(1, 3))  # steps, rows
RUN_COSTS, STEP_COSTS = st.sampled_from([0.0, 1.0, 20.0, 1000.0]), st.sampled_from([0.0, 0.5, 4.0])


def price(group: list[tuple[int, int]], cost: Cost) -> float:
    """Seconds of one run of requests, each of so many steps and rows."""
    longest, rows = max(steps for steps, _ in group), sum(rows for _, rows in group)
    points = sum(steps * rows for steps, rows in group)
    return cost.run + longest * cost.step + points * cost.point + (rows * longest - points) * cost.padding


def partitions(indices: list[int]):
    if not indices:
        yield []
        return
    first, *others = indices
    for size in range(len(others) + 1):
        for companions in itertools.combinations(others, size):
            rest = [i for i in others if i not in companions]
            for more in partitions(rest):
                yield [[first, *companions], *more]


@given(st.lists(SIZES, min_size=1, max_size=6), RUN_COSTS, STEP_COSTS)
def test_no_partition_is_cheaper_by_more_than_it_must_be(sizes, run, step):
    cost = Cost(run=run, step=step, point=0.5, padding=0.25)
    groups = plan_lengths([steps for steps, _ in sizes], [rows for _, rows in sizes], cost)
    assert sorted(itertools.chain.from_iterable(groups)) == list(range(len(sizes)))

    def total(groups):
        return sum(price([sizes[i] for i in group], cost) for group in groups)

    cheapest = min(total(partition) for partition in partitions(list(range(len(sizes)))))
    if len(groups) > 1:
        assert total(groups) == pytest.approx(cheapest)
    else:
        assert cheapest >= (1 - WORTH) * total(groups) - 1e-9


@pytest.mark.parametrize(
    ("lengths", "rows", "cost", "groups"),
    [
        # Eight lengths have groups of their own, in the order of arrival; of more, neighbors count as one.
        ([3, 5, 1, 3, 9, 11, 13, 7, 15], [1] * 9, ONLY_PADDING, [[2], [0, 3], [1], [7], [4], [5], [6], [8]]),
        (range(1, 10), [1] * 9, ONLY_PADDING, [[0], [1], [2], [3], [4], [5], [6], [7, 8]]),
        (range(1, 17), [1] * 16, ONLY_PADDING, [[at, at + 1] for at in range(0, 16, 2)]),
        (
            [50, 3, 52, 100, 4, 51, 2, 99], [1] * 8, Cost(run=16.0, step=1.0, point=0.0, padding=1.0),
            [[1, 4, 6], [0, 2, 5], [3, 7]],
        ),
    ],
)  # fmt: skip
def test_of_more_than_eight_lengths_neighbors_count_as_one(lengths, rows, cost, groups):
    assert plan_lengths(lengths, rows, cost) == groups


@pytest.mark.parametrize(
    ("lengths", "rows", "max_points", "groups"),
    [
        ([3, 3, 3, 12], [1] * 4, 48, [[0, 1, 2, 3]]),
        ([3, 3, 3, 12], [1] * 4, 47, [[0, 1, 2], [3]]),
        ([3, 3, 3, 12], [1] * 4, 9, [[0, 1, 2], [3]]),
        ([3, 3, 3, 12], [1] * 4, 8, [[0, 1], [2], [3]]),
        ([3, 3, 3, 12], [1] * 4, 2, [[0], [1], [2], [3]]),
        ([10, 2, 2, 2, 5, 5], [3, 2, 4, 4, 1, 1], 20, [[0], [1, 2, 3], [4, 5]]),
        ([2000, 1], [1, 1], 1000, [[0], [1]]),
    ],
)
def test_run_has_no_more_points_than_it_may(lengths, rows, max_points, groups):
    assert plan_lengths(lengths, rows, Cost(run=1e9, step=0.0, point=1.0, padding=1.0, max_points=max_points)) == groups


def test_batching_decides_which_sizes_share_a_run():
    requests = [checked_request(1, length) for length in (3, 5, 3, 4, 5)]
    assert plan(requests, signature(Batching.JOINED), CHEAP_PADDING) == [[0, 2], [1, 4], [3]]
    assert plan(requests, signature(Batching.PADDED), CHEAP_PADDING) == [[0, 1, 2, 3, 4]]
    assert plan(requests[:3], signature(Batching.ALONE), CHEAP_PADDING) == [[0], [1], [2]]


def test_only_the_first_of_several_axes_is_padded():
    def asked(source: int, target: int) -> CheckedRequest:
        sizes = {"source": source, "target": target}
        return CheckedRequest(1, sizes, sizes, source + target, {}, ("logits",))

    requests = [asked(3, 4), asked(5, 4), asked(3, 6), asked(3, 4), asked(9, 6)]
    of_each = {batching: signature(batching, "source", "target") for batching in Batching}
    assert plan(requests, of_each[Batching.PADDED], CHEAP_PADDING) == [[0, 1, 3], [2, 4]]
    assert plan(requests, of_each[Batching.JOINED], CHEAP_PADDING) == [[0, 3], [1], [2], [4]]
    dear = Cost(run=1.0, step=0.0, point=1.0, padding=1e6)
    assert sorted(plan(requests, of_each[Batching.PADDED], dear)) == [[0, 3], [1], [2], [4]]


def test_requests_of_the_nearest_lengths_are_taken():
    """Of two as near the shorter, of two as long the earlier."""
    lengths = [8, 20, 9, 7, 8, 7, 1, 9]
    cost = Cost(run=0.0, step=0.0, point=1.0, padding=0.0)  # any number is as good
    for half, taken in ((1, [0]), (2, [0, 4]), (3, [0, 3, 4]), (5, [0, 3, 4, 5, 2]), (8, range(8))):
        assert similar_to_first(lengths, [1] * 8, cost, math.inf, half) == sorted(taken)
    assert similar_to_first([10, 100, 10, 11, 100, 1], [1] * 6, NO_RUN, math.inf, 6) == [0, 2, 3]
    assert similar_to_first([100, 10, 10, 99, 10], [1] * 5, NO_RUN, math.inf, 5) == [0, 3]
    assert similar_to_first([10] * 8, [1] * 8, NO_RUN, 45.0, 8) == [0, 1, 2, 3]
    assert similar_to_first([10] * 8, [5] + [1] * 7, NO_RUN, 45.0, 8) == [0]
