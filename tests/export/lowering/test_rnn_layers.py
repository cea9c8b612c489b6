"""A loop that replaces an RNN operator computes the same, with the bits that batching relies on."""

import numpy as np
import onnx
import pytest
from onnx import helper

from kit.rnn_graphs import (
    FEATURES,
    HIDDEN,
    check_loop,
    feeds_of,
    lowered,
    model_of,
    rnn,
    run,
    value,
    weights,
)
from rnnserve.export.lowering import lower_rnn


@pytest.mark.parametrize(
    ("direction", "activation", "given"),
    [("forward", "Tanh", "BLH"), ("bidirectional", "Relu", "BLH"), ("reverse", "Tanh", "L"), ("forward", "Relu", "")],
)
def test_lowered_loop_equals_the_operator(direction, activation, given):
    check_loop(direction, activation, given)


def test_row_has_the_same_bits_beside_any_rows_and_padding():
    loop = lowered(rnn("bidirectional"))
    feeds = feeds_of(6, 9, "BLH", 2, padding=3.0)
    whole, final = run(loop, feeds)
    for start in (0, 2, 4):
        pair = slice(start, start + 2)
        length = max(int(feeds["L"][pair].max()), 1)
        alone = {"X": feeds["X"][:length, pair], "L": feeds["L"][pair], "H": feeds["H"][:, pair]}
        y, h = run(loop, alone)
        assert y.tobytes() == whole[:length, :, pair].tobytes()
        assert h.tobytes() == final[:, pair].tobytes()


def test_split_sequence_has_the_bits_of_the_whole():
    loop = lowered(rnn(given="BH"))
    feeds = feeds_of(4, 12, "BH", 1)
    whole, final = run(loop, feeds)
    state, parts = feeds["H"], []
    for start, stop in ((0, 1), (1, 4), (4, 5), (5, 12)):
        part, state = run(loop, {"X": feeds["X"][start:stop], "H": state})
        parts.append(part)
    assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert state.tobytes() == final.tobytes()


def test_rows_without_steps_are_zeros():
    for direction in ("forward", "reverse"):
        feeds = {**feeds_of(3, 4, "BLH", 1), "L": np.zeros(3, np.int32)}
        for array in run(lowered(rnn(direction)), feeds):
            assert not array.any()


def test_overflow_after_a_rows_end_does_not_leak():
    """The states of relu grow without limit, here to infinity and on to NaN, while the row's own are small."""
    constants = {**weights(1), "R": np.full((1, HIDDEN, HIDDEN), 50, np.float32)}
    model = rnn(activations=["Relu"], constants=constants)
    feeds = feeds_of(4, 40, "BLH", 1, padding=1e30) | {"L": np.array([1, 2, 1, 3], np.int32)}
    results = run(lowered(model), feeds)
    for found, expected in zip(results, run(model, feeds), strict=True):
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_names_axes_and_dtypes_stay_and_weights_are_held_once():
    for direction in ("forward", "bidirectional"):
        before = onnx.load_model_from_string(model := rnn(direction))
        after = onnx.load_model_from_string(lowered(model))
        assert list(after.graph.input) == list(before.graph.input)
        assert list(after.graph.output) == list(before.graph.output)
        assert {tensor.name for tensor in after.graph.initializer}.isdisjoint({"W", "R", "B"})
        assert len(lowered(model)) < len(model) + 8_000


def test_lowering_is_reproducible():
    assert lowered(rnn("bidirectional")) == lowered(rnn("bidirectional"))


def test_unsupported_operator_is_not_lowered():
    assert lower_rnn(rnn(clip=1.0)) is None
    assert lower_rnn(rnn(activations=["Sigmoid"])) is None
    assert lower_rnn(rnn("bidirectional", activations=["Tanh", "Relu"])) is None
    assert lower_rnn(rnn(activations=["Affine"], activation_alpha=[1.0], activation_beta=[0.0])) is None


def test_operator_with_computed_weights_is_not_lowered():
    names = ("W", "R")
    inputs = [value("X", "s", "b", FEATURES), value("W", 1, HIDDEN, FEATURES), value("R", 1, HIDDEN, HIDDEN)]
    node = helper.make_node("RNN", ["X", *names], ["Y"], hidden_size=HIDDEN)
    outputs = [value("Y", "s", 1, "b", HIDDEN)]
    assert lower_rnn(model_of([node], inputs, outputs, {})) is None
    computed = [helper.make_node("Add", [name, name], [f"{name}2"]) for name in names]
    node = helper.make_node("RNN", ["X", "W2", "R2"], ["Y"], hidden_size=HIDDEN)
    held = {name: array for name, array in weights(1).items() if name in names}
    assert lower_rnn(model_of([*computed, node], inputs[:1], outputs, held)) is None
