"""Guarded recurrent operators of every form, with infinities, zero weights and states that overflow."""

import numpy as np
import onnx
import pytest
import torch

from kit.guarded_layers import FEATURES, FORMS, HIDDEN, bad_steps, check_guarded, check_same_bits, eager_of, subject
from rnnserve.export.lowering import lower_rnn
from rnnserve.export.parity import OnnxRunner
from rnnserve.export.recurrent_guard import guard_recurrences

PLACES = ((2, 1), (0, 0), (4, 1), (5, 0), (0, 3))


@pytest.mark.parametrize("cell", ["RNN relu", "GRU", "LSTM"])
@pytest.mark.parametrize("form", FORMS)
def test_guarded_layer_of_any_form_has_nan_where_eager_has_it(cell, form):
    check_guarded(cell, form, PLACES)
    check_same_bits(cell, form)


@pytest.mark.parametrize("cell", ["GRU", "LSTM"])
def test_one_infinity_saturates_as_in_eager_and_two_different_ones_return_nan(cell):
    module, inputs, _, guarded = subject(cell)
    for values, is_finite in (((np.inf, 0.5), True), ((np.inf, np.inf), False), ((np.inf, -np.inf), False)):
        changed = {key: array.copy() for key, array in inputs.items()}
        changed["x"][1, 2, :2] = values
        found, expected = OnnxRunner(guarded)(changed), eager_of(module, changed)
        assert np.isfinite(expected["y"]).all() == is_finite
        np.testing.assert_array_equal(bad_steps(found["y"]), bad_steps(expected["y"]))


def test_infinity_times_a_weight_of_zero_is_nan_as_in_eager():
    module, inputs, plain, _ = subject("GRU")
    weights = module.layer.weight_ih_l0
    with torch.no_grad():
        before = weights.clone()
        weights[7, 1] = 0
    try:
        model = onnx.load_model_from_string(plain)
        (node,) = (node for node in model.graph.node if node.op_type == "GRU")
        (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
        array = onnx.numpy_helper.to_array(tensor).copy()
        array[array == before[7, 1].item()] = 0
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
        changed = {key: array.copy() for key, array in inputs.items()}
        changed["x"][1, 2, 1] = np.inf
        expected = bad_steps(eager_of(module, changed)["y"])
    finally:
        with torch.no_grad():
            weights.copy_(before)
    found = OnnxRunner(guard_recurrences(model.SerializeToString(), finite_inputs=False))(changed)
    assert expected.any()
    np.testing.assert_array_equal(bad_steps(found["y"]), expected)


def test_overflowing_relu_states_equal_eager():
    """A recurrence that doubles: PyTorch's states are infinite after 130 steps, and NaN after the next."""
    module, _, plain, _ = subject("RNN relu")
    model = onnx.load_model_from_string(plain)
    (node,) = (node for node in model.graph.node if node.op_type == "RNN")
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == node.input[2])
    recurrent = np.array([[2, -1, 0, 0, 0], [-1, 2, 0, 0, 0], [1, -1, 1, 0, 0], [0] * 5, [0] * 5], np.float32)
    tensor.CopyFrom(onnx.numpy_helper.from_array(recurrent[None], tensor.name))
    inputs = {
        "x": np.random.default_rng(0).normal(size=(200, 2, FEATURES)).astype(np.float32),
        "h_0": np.zeros((1, 2, HIDDEN), np.float32), "c_0": np.zeros((1, 2, HIDDEN), np.float32),
        "lengths": np.array([200, 200]),
    }  # fmt: skip
    before = module.layer.weight_hh_l0.detach().clone()
    try:
        with torch.no_grad():
            module.layer.weight_hh_l0.copy_(torch.from_numpy(recurrent))
        expected = eager_of(module, inputs)
    finally:
        with torch.no_grad():
            module.layer.weight_hh_l0.copy_(before)
    data = model.SerializeToString()
    for guarded in (guard_recurrences(data), lower_rnn(guard_recurrences(data)) or b""):
        found = OnnxRunner(guarded)(inputs)
        for name in ("y", "h_n"):
            bad = np.isnan(expected[name]).any(axis=-1)
            assert bad.any()
            np.testing.assert_array_equal(np.isnan(found[name]).any(axis=-1), bad)
