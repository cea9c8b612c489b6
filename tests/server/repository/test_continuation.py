import dataclasses

import numpy as np
import pytest

from rnnserve.server.boundary.signature import Signature, TensorSpec
from rnnserve.server.repository.continuation import is_continuable
from rnnserve.server.repository.trial_requests import TrialRequests


class Sizes(TrialRequests):
    """Draws requests of a model without golden cases."""

    def __init__(self, signature, low=1, high=64):
        self._signature = signature
        self._numbers = np.random.default_rng(0)
        self._range = dict.fromkeys(signature.sequence_axes, (low, high))
        self.shortest = {}
        self._values = {}


X = TensorSpec("x", "FP32", ("batch", "sequence", "features"), (-1, -1, 2))
H_0 = TensorSpec("h_0", "FP32", ("batch", "features"), (-1, 2), optional=True)
H_N = TensorSpec("h_n", "FP32", ("batch", "features"), (-1, 2), continues_as="h_0")
OUTPUT = TensorSpec("output", "FP32", ("batch", "sequence", "features"), (-1, -1, 2))
SUMS = Signature({"x": X, "h_0": H_0}, {"output": OUTPUT, "h_n": H_N})


def forward(x, h_0):
    output = np.cumsum(x, 1) + h_0[:, None]
    return {"output": output, "h_n": output[:, -1]}


def backward(x, h_0):
    output = np.cumsum(x[:, ::-1], 1)[:, ::-1] + h_0[:, None]
    return {"output": output, "h_n": output[:, 0]}


def centred(x, h_0):
    """The states continue, but the output needs all steps."""
    output, h_n = forward(x, h_0).values()
    return {"output": output - x.mean(1, keepdims=True), "h_n": h_n}


def stateless(x, h_0):
    return forward(x, 0 * h_0)


def running(compute, signature=SUMS):
    def run(requests):
        return [
            {name: array.astype(signature.outputs[name].dtype) for name, array in compute(**request.inputs).items()}
            for request in requests
        ]

    return run


@pytest.mark.parametrize(
    ("compute", "found"), [(forward, True), (backward, False), (centred, False), (stateless, False)]
)
def test_a_sequence_is_cut_in_two(compute, found):
    assert is_continuable(running(compute), SUMS, Sizes(SUMS)) is found


@pytest.mark.parametrize(
    ("low", "high", "found"), [(1, 1, False), (1, 2, True), (5, 64, True), (5, 9, False), (5, 10, True)]
)
def test_parts_have_sizes_that_the_model_takes(low, high, found):
    def compute(x, h_0):
        assert low <= x.shape[1] <= high
        return forward(x, h_0)

    assert is_continuable(running(compute), SUMS, Sizes(SUMS, low, high)) is found


def test_half_precision_is_near_enough():
    halves = Signature(
        {name: dataclasses.replace(spec, datatype="FP16") for name, spec in SUMS.inputs.items()},
        {name: dataclasses.replace(spec, datatype="FP16") for name, spec in SUMS.outputs.items()},
    )
    assert is_continuable(running(forward, halves), halves, Sizes(halves))
    assert not is_continuable(running(backward, halves), halves, Sizes(halves))


def test_integers_that_are_no_states_may_turn_by_rounding():
    signature = Signature(SUMS.inputs, {**SUMS.outputs, "tag": TensorSpec("tag", "INT64", ("batch",), (-1,))})

    def compute(x, h_0):
        return {**forward(x, h_0), "tag": np.full(len(x), x.shape[1])}

    assert is_continuable(running(compute, signature), signature, Sizes(signature))


def test_without_states_there_is_nothing_to_continue():
    signature = Signature({"x": X}, {"output": OUTPUT})
    assert not is_continuable(running(forward), signature, Sizes(signature))


def test_states_that_do_not_fit_are_not_continued():
    of_others = dataclasses.replace(H_N, continues_as="h")
    wider = dataclasses.replace(H_0, sizes=(-1, 3))
    for inputs, outputs in (
        (SUMS.inputs, {"output": OUTPUT, "h_n": of_others}),
        ({"x": X, "h_0": wider}, SUMS.outputs),
        ({"x": X, "h_0": dataclasses.replace(H_0, datatype="FP16")}, SUMS.outputs),
        ({"x": X, "h_0": dataclasses.replace(X, name="h_0")}, {"h_n": dataclasses.replace(OUTPUT, continues_as="h_0")}),
    ):
        signature = Signature(inputs, outputs)
        assert not is_continuable(running(forward), signature, Sizes(signature))


def test_single_steps_are_continued_and_two_sequence_axes_are_not():
    step = Signature({"x": dataclasses.replace(H_0, name="x", optional=False), "h_0": H_0}, {"h_n": H_N})
    assert is_continuable(running(forward), step, Sizes(step))
    target = TensorSpec("y", "FP32", ("batch", "target"), (-1, -1))
    both = Signature({**SUMS.inputs, "y": target}, SUMS.outputs)
    assert not is_continuable(running(forward), both, Sizes(both))


def test_all_but_the_bidirectional_cells_are_continued(models):
    found = {model.name: model.continues for model in models}
    assert found == {model.name: "bidirectional" not in model.name and model.name != "lstm" for model in models}
