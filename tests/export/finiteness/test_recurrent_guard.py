"""Guarded recurrent operators: NaN where PyTorch gives NaN, by rows and steps; finite results keep their bits."""

import functools
import itertools

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnserve.export import export_onnx
from rnnserve.export.finiteness import describe_finiteness, guard_recurrences
from rnnserve.export.lowering import lower_rnn
from rnnserve.export.parity import OnnxRunner

STEPS, ROWS, FEATURES, HIDDEN = 6, 4, 3, 5
SWALLOWING = [("RNN", "relu"), ("GRU", ""), ("LSTM", "")]
FORMS = {  # bidirectional, layers, packed
    "forward": (False, 1, False),
    "two layers": (False, 2, False),
    "both directions, two layers, packed": (True, 2, True),
}


class Recurrent(nn.Module):
    """Gives all that a recurrent layer gives."""

    def __init__(self, layer, *, packed):
        super().__init__()
        self.layer, self.packed = layer, packed

    def forward(self, x, h_0, c_0, lengths):
        given = pack_padded_sequence(x, lengths, enforce_sorted=False) if self.packed else x
        y, state = self.layer(given, (h_0, c_0) if isinstance(self.layer, nn.LSTM) else h_0)
        if self.packed:
            y, _ = pad_packed_sequence(y, total_length=x.size(0))
        h_n, c_n = state if isinstance(state, tuple) else (state, c_0 + 0)
        return y, h_n, c_n, lengths + 0


@functools.cache
def subject(cell, activation, form):
    """A module, its usual inputs, its ONNX model and the same with guards."""
    bidirectional, layers, packed = FORMS[form]
    more = {"nonlinearity": activation} if activation else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        layer = getattr(nn, cell)(FEATURES, HIDDEN, layers, bidirectional=bidirectional, **more)
        states = [torch.randn(layers * (1 + bidirectional), ROWS, HIDDEN) for _ in range(2)]
        arguments = (torch.randn(STEPS, ROWS, FEATURES), *states, torch.tensor([6, 3, 4, 5]))
    module = Recurrent(layer, packed=packed).eval()
    names = ["x", "h_0", "c_0", "lengths"]
    program = export_onnx(
        module, arguments, input_names=names, output_names=["y", "h_n", "c_n", "ends"],
        dynamic_shapes=({0: "sequence", 1: "batch"}, {1: "batch"}, {1: "batch"}, {0: "batch"}),
    )  # fmt: skip
    plain = program.model_proto.SerializeToString(deterministic=True)
    inputs = {name: tensor.numpy() for name, tensor in zip(names, arguments, strict=True)}
    return module, inputs, plain, guard_recurrences(plain, finite_inputs=False)


def eager_of(module, inputs):
    with torch.no_grad():
        results = module(*(torch.from_numpy(array.copy()) for array in inputs.values()))
    return {name: tensor.numpy() for name, tensor in zip(("y", "h_n", "c_n"), results, strict=False)}


def steps_that_are_not_finite(array):
    return (~np.isfinite(array)).any(axis=-1)


@pytest.mark.parametrize(("cell", "activation"), SWALLOWING)
@pytest.mark.parametrize("form", FORMS)
def test_what_is_not_finite_is_so_where_it_is_in_eager(cell, activation, form):
    module, inputs, plain, guarded = subject(cell, activation, form)
    runners = [OnnxRunner(guarded)]
    lowered = lower_rnn(guarded)
    assert (lowered is not None) == (cell == "RNN")
    if lowered is not None:
        runners.append(OnnxRunner(lowered))
    unguarded, lost = OnnxRunner(plain), 0
    values, places = (np.nan, np.inf, -np.inf), ((2, 1), (0, 0), (4, 1), (5, 0), (0, 3))
    for name, value, (step, row) in itertools.product(("x", "h_0", "c_0"), values, places):
        changed = {key: array.copy() for key, array in inputs.items()}
        changed[name][step % len(changed[name]), row, 1] = value
        eager = eager_of(module, changed)
        for runner in runners:
            found = runner(changed)
            for output, expected in eager.items():
                bad = steps_that_are_not_finite(expected)
                np.testing.assert_array_equal(steps_that_are_not_finite(found[output]), bad)
                np.testing.assert_allclose(found[output][~bad], expected[~bad], atol=1e-5)
        lost += any(np.isfinite(unguarded(changed)[output]).all() and not np.isfinite(eager[output]).all()
                    for output in eager)  # fmt: skip
    assert lost  # without guards some are given as finite numbers


@pytest.mark.parametrize(("cell", "activation"), SWALLOWING)
@pytest.mark.parametrize("form", FORMS)
def test_finite_results_keep_their_bits(cell, activation, form):
    _, inputs, plain, guarded = subject(cell, activation, form)
    before, after = OnnxRunner(plain)(inputs), OnnxRunner(guarded)(inputs)
    assert {name: array.tobytes() for name, array in before.items()} == {
        name: array.tobytes() for name, array in after.items()
    }


@pytest.mark.parametrize("cell", ["GRU", "LSTM"])
def test_one_infinity_saturates_as_in_eager_and_two_that_differ_give_nan(cell):
    module, inputs, _, guarded = subject(cell, "", "forward")
    for values, is_finite in (((np.inf, 0.5), True), ((np.inf, np.inf), False), ((np.inf, -np.inf), False)):
        changed = {key: array.copy() for key, array in inputs.items()}
        changed["x"][1, 2, :2] = values
        found, expected = OnnxRunner(guarded)(changed), eager_of(module, changed)
        assert np.isfinite(expected["y"]).all() == is_finite
        np.testing.assert_array_equal(steps_that_are_not_finite(found["y"]), steps_that_are_not_finite(expected["y"]))


def test_a_weight_of_zero_makes_nan_of_infinity_here_too():
    module, inputs, plain, _ = subject("GRU", "", "forward")
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
        expected = steps_that_are_not_finite(eager_of(module, changed)["y"])
    finally:
        with torch.no_grad():
            weights.copy_(before)
    found = OnnxRunner(guard_recurrences(model.SerializeToString(), finite_inputs=False))(changed)
    assert expected.any()
    np.testing.assert_array_equal(steps_that_are_not_finite(found["y"]), expected)


def test_states_of_relu_that_overflow():
    """A recurrence that doubles: PyTorch's states are infinite after 130 steps, and NaN after the next."""
    module, _, plain, _ = subject("RNN", "relu", "forward")
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


def test_only_what_needs_a_guard_has_one():
    for cell, activation in (*SWALLOWING, ("RNN", "tanh")):
        _, _, plain, guarded = subject(cell, activation, "forward")
        assert (guarded == plain) == (activation == "tanh")
        # Finite inputs: the gates of GRU and LSTM are bounded, and states of relu can grow for ever.
        assert (guard_recurrences(plain) == plain) == (activation != "relu")


def test_the_same_model_gives_the_same_bytes():
    _, _, plain, guarded = subject("LSTM", "", "both directions, two layers, packed")
    assert guard_recurrences(plain, finite_inputs=False) == guarded


@pytest.mark.parametrize(("cell", "lost"), [("GRU", ["x", "h_0"]), ("LSTM", ["x", "h_0", "c_0"])])
def test_inputs_whose_nan_would_be_lost_are_named(cell, lost):
    _, _, plain, guarded = subject(cell, "", "two layers")
    described = describe_finiteness(plain, finite_inputs=True, is_guarded=True)
    assert (list(described.lost_inputs), list(described.outputs), described.allowed) == (lost, [], False)
    allowed = describe_finiteness(guarded, finite_inputs=False, is_guarded=True)
    assert (list(allowed.lost_inputs), allowed.allowed) == ([], True)
    assert {"y", "h_n"} <= set(allowed.outputs)
