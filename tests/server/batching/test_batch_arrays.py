"""Joining requests into a batch and splitting its outputs loses and mixes nothing."""

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kit.checked_requests import checked_request
from rnnserve.server.batching.batch_arrays import join, split, split_rows
from rnnserve.server.validation.signature import CheckedRequest, Signature, TensorSpec

STATE = ("layers * directions", "batch", "hidden")
SIGNATURE = Signature(
    {
        "input": TensorSpec("input", "FP32", ("batch", "sequence", "features"), (-1, -1, 2)),
        "lengths": TensorSpec("lengths", "INT64", ("batch",), (-1,), optional=True, lengths_of="sequence"),
        "h_0": TensorSpec("h_0", "FP32", STATE, (2, -1, 3), optional=True),
    },
    {
        "logits": TensorSpec("logits", "FP32", ("batch", "classes"), (-1, 2)),
        "output": TensorSpec("output", "FP32", ("batch", "sequence", "hidden"), (-1, -1, 2), zeros_after_lengths=True),
        "h_n": TensorSpec("h_n", "FP32", STATE, (2, -1, 3)),
    },
)


def reference(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Compute sums up to each length, running sums, and states that count the steps."""
    x, lengths, h_0 = feeds["input"], feeds["lengths"], feeds["h_0"]
    within = np.arange(x.shape[1]) < lengths[:, None]
    masked = x * within[..., None]
    return {
        "logits": masked.sum(axis=1),
        "output": (np.cumsum(masked, axis=1) * within[..., None]).astype(np.float32),
        "h_n": h_0 + lengths[None, :, None].astype(np.float32),
    }


@st.composite
def checked_requests(draw) -> CheckedRequest:
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
    return checked_request(batch, sequence, inputs, tuple(outputs), longest=longest)


def alone(request: CheckedRequest) -> dict[str, np.ndarray]:
    """Compute the expected outputs of a request from its own arrays only."""
    feeds = {
        "input": request.inputs["input"],
        "lengths": request.inputs.get("lengths", np.full(request.batch, request.sizes["sequence"])),
        "h_0": request.inputs.get("h_0", np.zeros((2, request.batch, 3), np.float32)),
    }
    return {name: reference(feeds)[name] for name in request.outputs}


@given(st.lists(checked_requests(), min_size=1, max_size=8))
def test_each_request_gets_its_own_outputs(requests):
    feeds = join(requests, SIGNATURE)
    assert {name: array.dtype for name, array in feeds.items()} == {s.name: s.dtype for s in SIGNATURE.inputs.values()}
    answers = split(requests, reference(feeds), SIGNATURE)
    for request, answer in zip(requests, answers, strict=True):
        expected = alone(request)
        assert list(answer) == list(request.outputs)
        for name in request.outputs:
            np.testing.assert_array_equal(answer[name], expected[name])


@given(st.lists(checked_requests(), min_size=1, max_size=8))
def test_batch_has_an_even_number_of_rows_and_no_extra_steps(requests):
    feeds = join(requests, SIGNATURE)
    rows = sum(request.batch for request in requests)
    assert feeds["input"].shape == (rows + rows % 2, max(request.longest["sequence"] for request in requests), 2)
    assert (feeds["lengths"] >= 1).all()
    assert (feeds["lengths"] <= feeds["input"].shape[1]).all()


def lengths_of(*requests: CheckedRequest, of: Signature = SIGNATURE) -> np.ndarray:
    return join(list(requests), of)["lengths"]


def one(batch: int, steps: int, **more: np.ndarray) -> CheckedRequest:
    return checked_request(batch, steps, {"input": np.ones((batch, steps, 2), np.float32), **more})


def test_request_that_fills_a_batch_is_not_copied():
    request = one(2, 3)
    assert join([request], SIGNATURE)["input"] is request.inputs["input"]


def test_padding_row_has_the_shortest_allowed_length():
    longer = dataclasses.replace(SIGNATURE.inputs["lengths"], shortest=2)
    two = dataclasses.replace(SIGNATURE, inputs={**SIGNATURE.inputs, "lengths": longer})
    with_lengths = one(1, 3, lengths=np.array([3]))
    assert lengths_of(one(1, 3)).tolist() == [3, 1]
    assert lengths_of(one(1, 3), of=two).tolist() == [3, 2]
    assert lengths_of(one(1, 1), of=two).tolist() == [1, 1]
    assert lengths_of(with_lengths, of=two).tolist() == [3, 2]
    assert lengths_of(one(1, 3), with_lengths, one(1, 1), of=two).tolist() == [3, 3, 1, 2]


@given(checked_requests(), st.integers(1, 60))
def test_request_split_by_rows_has_the_outputs_of_the_whole(request, most_points):
    parts = split_rows(request, SIGNATURE, most_points)
    assert sum(part.batch for part in parts) == request.batch
    assert all(part.batch % 2 == 0 for part in parts[:-1])
    assert all(part.batch * part.steps <= most_points or part.batch <= 2 for part in parts)
    given = [split([part], reference(join([part], SIGNATURE)), SIGNATURE)[0] for part in parts]
    whole = alone(request)
    for name in request.outputs:
        axis = SIGNATURE.outputs[name].batch_axis
        np.testing.assert_array_equal(np.concatenate([one[name] for one in given], axis), whole[name])
