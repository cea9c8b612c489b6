"""Which requests share a batch: the cheapest grouping, and for a queue the requests of the nearest lengths."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.checked_requests import checked_request, signature
from rnnserve.server.batching.execution import _WORTH as WORTH
from rnnserve.server.batching.execution import Cost, plan, plan_lengths
from rnnserve.server.validation.signature import Batching, CheckedRequest

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
def test_plan_costs_little_more_than_the_cheapest_partition(sizes, run, step):
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
def test_batch_stays_within_max_points(lengths, rows, max_points, groups):
    assert plan_lengths(lengths, rows, Cost(run=1e9, step=0.0, point=1.0, padding=1.0, max_points=max_points)) == groups


def test_batching_mode_decides_which_sizes_share_a_batch():
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
