"""The grouping of requests is the cheapest there is."""

import itertools
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.checked_requests import checked_request, signature
from rnnserve.server.batching.cost import Cost
from rnnserve.server.batching.planning import _WORTH as WORTH
from rnnserve.server.batching.planning import plan, plan_lengths
from rnnserve.server.boundary.checked_request import CheckedRequest
from rnnserve.server.boundary.signature import Batching


class Request(NamedTuple):
    """What `plan` is told of a request: steps of its longest row, and rows."""

    longest: int
    batch: int = 1


def planned(requests: list[Request], cost: Cost) -> list[list[int]]:
    return plan_lengths([request.longest for request in requests], [request.batch for request in requests], cost)


def price(groups: list[list[int]], requests: list[Request], cost: Cost) -> float:
    total = 0.0
    for group in groups:
        steps, rows = max(requests[i].longest for i in group), sum(requests[i].batch for i in group)
        points = sum(requests[i].batch * requests[i].longest for i in group)
        total += cost.run + steps * cost.step + points * cost.point + (rows * steps - points) * cost.padding
    return total


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


@given(
    st.lists(st.tuples(st.integers(1, 64), st.integers(1, 3)), min_size=1, max_size=6),
    st.sampled_from([0.0, 1.0, 20.0, 1000.0]),
    st.sampled_from([0.0, 0.5, 4.0]),
)
def test_no_partition_is_cheaper_by_more_than_it_must_be(sizes, run, step):
    requests = [Request(length, batch) for length, batch in sizes]
    cost = Cost(run=run, step=step, point=0.5, padding=0.25)
    groups = planned(requests, cost)
    assert sorted(itertools.chain.from_iterable(groups)) == list(range(len(requests)))
    cheapest = min(price(p, requests, cost) for p in partitions(list(range(len(requests)))))
    if len(groups) > 1:
        assert price(groups, requests, cost) == pytest.approx(cheapest)
    else:
        assert cheapest >= (1 - WORTH) * price(groups, requests, cost) - 1e-9


def test_padding_that_costs_much_is_avoided():
    """One long sequence among many short ones."""
    requests = [Request(2), Request(64), *[Request(length) for length in (3, 2, 1, 3, 2, 1)]]
    groups = planned(requests, Cost(run=5.0, step=0.0, point=1.0, padding=0.5))
    assert sorted(groups) == [[0, 2, 3, 4, 5, 6, 7], [1]]


CHEAP_PADDING = Cost(run=1e9, step=0.0, point=1.0, padding=0.0)


def test_requests_that_are_joined_have_equal_sizes():
    requests = [checked_request(1, length) for length in (3, 5, 3, 4, 5)]
    assert plan(requests, signature(Batching.JOINED), CHEAP_PADDING) == [[0, 2], [1, 4], [3]]
    assert plan(requests, signature(Batching.PADDED), CHEAP_PADDING) == [[0, 1, 2, 3, 4]]


def test_requests_that_run_alone_do_so():
    requests = [checked_request(2, 3) for _ in range(3)]
    assert plan(requests, signature(Batching.ALONE), CHEAP_PADDING) == [[0], [1], [2]]


def test_of_several_axes_only_the_first_is_padded():
    def asked(source: int, target: int) -> CheckedRequest:
        sizes = {"source": source, "target": target}
        return CheckedRequest(1, sizes, sizes, source + target, {}, ("logits",))

    requests = [asked(3, 4), asked(5, 4), asked(3, 6), asked(3, 4), asked(9, 6)]
    of_each = {batching: signature(batching, "source", "target") for batching in Batching}
    assert plan(requests, of_each[Batching.PADDED], CHEAP_PADDING) == [[0, 1, 3], [2, 4]]
    assert plan(requests, of_each[Batching.JOINED], CHEAP_PADDING) == [[0, 3], [1], [2], [4]]
    dear = Cost(run=1.0, step=0.0, point=1.0, padding=1e6)
    assert sorted(plan(requests, of_each[Batching.PADDED], dear)) == [[0, 3], [1], [2], [4]]


def test_a_padded_run_is_bounded():
    requests = [Request(4), Request(100), *[Request(5) for _ in range(30)]]
    groups = planned(requests, Cost(run=1e9, step=0.0, point=1.0, padding=1.0, max_points=1000))
    assert sorted(itertools.chain.from_iterable(groups)) == list(range(len(requests)))
    for group in groups:
        assert sum(requests[i].batch for i in group) * max(requests[i].longest for i in group) <= 1000


def test_a_request_larger_than_the_bound_runs_alone():
    groups = planned([Request(2000), Request(1)], Cost(run=1e9, step=0.0, point=1.0, padding=1.0, max_points=1000))
    assert sorted(groups) == [[0], [1]]
