"""Every form of the RNN operator, and those of float64."""

import itertools

import numpy as np
import pytest
from onnx import TensorProto, helper

from kit.rnn_graphs import BOTH, FEATURES, HIDDEN, check_loop, lowered, model_of, run, value, weights

OPTIONAL = [given for count in range(4) for given in itertools.combinations("BLH", count)]


@pytest.mark.parametrize("activation", ["Tanh", "Relu"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_loop_computes_what_any_form_of_the_operator_computes(direction, activation):
    for given, outputs in itertools.product(OPTIONAL, (BOTH, ("Y", ""), ("", "Y_h"))):
        check_loop(direction, activation, given, outputs)


def test_loop_of_float64_computes_what_numpy_computes():
    """onnxruntime has no such RNN operator, so that numpy computes it."""
    constants = weights(1, dtype=np.float64)
    node = helper.make_node("RNN", ["X", "W", "R", "B"], ["Y"], hidden_size=HIDDEN)
    kind = TensorProto.DOUBLE
    inputs, outputs = [value("X", "s", "b", FEATURES, kind=kind)], [value("Y", "s", 1, "b", HIDDEN, kind=kind)]
    loop = lowered(model_of([node], inputs, outputs, constants))
    x = np.random.default_rng(0).normal(size=(6, 2, FEATURES))
    state = np.zeros((2, HIDDEN))
    for step, (found,) in zip(x, run(loop, {"X": x})[0], strict=True):
        bias = constants["B"][0, :HIDDEN] + constants["B"][0, HIDDEN:]
        state = np.tanh(step @ constants["W"][0].T + bias + state @ constants["R"][0].T)
        np.testing.assert_allclose(found, state, rtol=0, atol=1e-14)
