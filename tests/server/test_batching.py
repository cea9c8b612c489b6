"""Joining and splitting lose and mix nothing; grouping is the cheapest there is."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnserve.server.batching import _WORTH as WORTH
from rnnserve.server.batching import Cost, join, plan, split
from rnnserve.server.boundary import Inference
from rnnserve.server.signature import Signature, TensorSpec

STATE = ("layers * directions", "batch", "hidden")
SIGNATURE = Signature(
    {
        "input": TensorSpec("input", "FP32", ("batch", "sequence", "features"), (-1, -1, 2)),
        "lengths": TensorSpec("lengths", "INT64", ("batch",), (-1,), optional=True),
        "h_0": TensorSpec("h_0", "FP32", STATE, (2, -1, 3), optional=True),
    },
    {
        "logits": TensorSpec("logits", "FP32", ("batch", "classes"), (-1, 2)),
        "output": TensorSpec("output", "FP32", ("batch", "sequence", "hidden"), (-1, -1, 2)),
        "h_n": TensorSpec("h_n", "FP32", STATE, (2, -1, 3)),
    },
)


def reference(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A model that is easily checked: sums up to each length, running sums, and states that count the steps."""
    x, lengths, h_0 = feeds["input"], feeds["lengths"], feeds["h_0"]
    within = np.arange(x.shape[1]) < lengths[:, None]
    masked = x * within[..., None]
    return {
        "logits": masked.sum(axis=1),
        "output": (np.cumsum(masked, axis=1) * within[..., None]).astype(np.float32),
        "h_n": h_0 + lengths[None, :, None].astype(np.float32),
    }


@st.composite
def inferences(draw) -> Inference:
    batch, sequence = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    numbers = np.random.default_rng(draw(st.integers(0, 2**16)))
    inputs = {"input": numbers.integers(-9, 9, (batch, sequence, 2)).astype(np.float32)}
    longest = sequence
    if draw(st.booleans()):
        inputs["lengths"] = numbers.integers(1, sequence + 1, batch)
        longest = int(inputs["lengths"].max())
    if draw(st.booleans()):
        inputs["h_0"] = numbers.integers(-9, 9, (2, batch, 3)).astype(np.float32)
    outputs = draw(st.lists(st.sampled_from(["logits", "output", "h_n"]), min_size=1, unique=True))
    return Inference(batch, sequence, longest, inputs, tuple(outputs))


def alone(request: Inference) -> dict[str, np.ndarray]:
    """What a request should get, computed from its own arrays only."""
    feeds = {
        "input": request.inputs["input"],
        "lengths": request.inputs.get("lengths", np.full(request.batch, request.sequence)),
        "h_0": request.inputs.get("h_0", np.zeros((2, request.batch, 3), np.float32)),
    }
    return {name: reference(feeds)[name] for name in request.outputs}


@given(st.lists(inferences(), min_size=1, max_size=8))
def test_each_request_gets_back_its_own(requests):
    feeds = join(requests, SIGNATURE)
    assert {name: array.dtype for name, array in feeds.items()} == {s.name: s.dtype for s in SIGNATURE.inputs.values()}
    answers = split(requests, reference(feeds), SIGNATURE)
    for request, answer in zip(requests, answers, strict=True):
        expected = alone(request)
        assert list(answer) == list(request.outputs)
        for name in request.outputs:
            np.testing.assert_array_equal(answer[name], expected[name])
            assert answer[name].flags.c_contiguous


@given(st.lists(inferences(), min_size=1, max_size=8))
def test_a_run_has_an_even_number_of_rows_and_no_needless_step(requests):
    feeds = join(requests, SIGNATURE)
    rows = sum(request.batch for request in requests)
    assert feeds["input"].shape == (rows + rows % 2, max(request.longest for request in requests), 2)
    assert (feeds["lengths"] >= 1).all()
    assert (feeds["lengths"] <= feeds["input"].shape[1]).all()


def of_length(length: int, batch: int = 1) -> Inference:
    return Inference(batch, length, length, {"input": np.zeros((batch, length, 2), np.float32)}, ("logits",))


def planned(requests: list[Inference], cost: Cost) -> list[list[int]]:
    return plan([request.longest for request in requests], [request.batch for request in requests], cost)


def price(groups: list[list[int]], requests: list[Inference], cost: Cost) -> float:
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
    requests = [of_length(length, batch) for length, batch in sizes]
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
    requests = [of_length(2), of_length(64), *[of_length(length) for length in (3, 2, 1, 3, 2, 1)]]
    groups = planned(requests, Cost(run=5.0, step=0.0, point=1.0, padding=0.5))
    assert sorted(groups) == [[0, 2, 3, 4, 5, 6, 7], [1]]


def test_a_model_that_cannot_tell_padding_gets_none():
    requests = [of_length(length) for length in (3, 5, 3, 4, 5, *range(6, 30))]
    groups = planned(requests, Cost(run=1e9, step=0.0, point=1.0, padding=math.inf))
    assert groups[:3] == [[0, 2], [3], [1, 4]]
    assert all(len({requests[i].longest for i in group}) == 1 for group in groups)


def test_a_padded_run_is_bounded():
    requests = [of_length(4), of_length(100), *[of_length(5) for _ in range(30)]]
    groups = planned(requests, Cost(run=1e9, step=0.0, point=1.0, padding=1.0, max_points=1000))
    assert sorted(itertools.chain.from_iterable(groups)) == list(range(len(requests)))
    for group in groups:
        assert sum(requests[i].batch for i in group) * max(requests[i].longest for i in group) <= 1000


def test_a_request_larger_than_the_bound_runs_alone():
    groups = planned([of_length(2000), of_length(1)], Cost(run=1e9, step=0.0, point=1.0, padding=1.0, max_points=1000))
    assert sorted(groups) == [[0], [1]]
