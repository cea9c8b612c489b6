"""An RNN operator and the loop in its place compute the same, whatever the operator is given and gives."""

import itertools

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from rnnserve.export.lowering import lower_rnn

FEATURES, HIDDEN = 3, 5
SIZES = ((1, 1), (2, 5), (7, 4), (4, 33))
"""Rows and steps."""

BOTH, FIRST, SECOND = ("Y", "Y_h"), ("Y", ""), ("", "Y_h")


def value(name, *shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, list(shape))


def weights(directions, *, scale=0.4, dtype=np.float32):
    random = np.random.default_rng(directions)
    shapes = {"W": (HIDDEN, FEATURES), "R": (HIDDEN, HIDDEN), "B": (2 * HIDDEN,)}
    return {name: random.normal(scale=scale, size=(directions, *shape)).astype(dtype) for name, shape in shapes.items()}


def model_of(nodes, inputs, outputs, constants):
    graph = helper.make_graph(
        nodes, "g", inputs, outputs, [numpy_helper.from_array(a, n) for n, a in constants.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def rnn(direction="forward", *, given=("B", "L", "H"), outputs=BOTH, constants=None, **attributes):
    """A model of one RNN operator, which is given some of its optional inputs."""
    directions = 2 if direction == "bidirectional" else 1
    attributes = {"activations": ["Tanh"] * directions, **attributes}
    node = helper.make_node(
        "RNN",
        ["X", "W", "R", *(name if name in given else "" for name in ("B", "L", "H"))],
        list(outputs),
        direction=direction,
        hidden_size=HIDDEN,
        **attributes,
    )
    values = {"Y": value("Y", "s", directions, "b", HIDDEN), "Y_h": value("Y_h", directions, "b", HIDDEN)}
    inputs = [value("X", "s", "b", FEATURES)]
    inputs += [value("L", "b", kind=TensorProto.INT32)] if "L" in given else []
    inputs += [value("H", directions, "b", HIDDEN)] if "H" in given else []
    held = {name: array for name, array in (constants or weights(directions)).items() if name in ("W", "R", *given)}
    return model_of([node], inputs, [values[name] for name in outputs if name], held)


def run(model, feeds):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, feeds)


def operators(model):
    return [node.op_type for node in onnx.load_model_from_string(model).graph.node]


def lowered(model):
    data = lower_rnn(model)
    assert data is not None
    return data


def feeds_of(rows, steps, given, directions, seed=0, padding=np.nan):
    """Inputs; rows have any number of steps, none included, and after them what must not be read."""
    random = np.random.default_rng(seed)
    feeds = {"X": random.normal(size=(steps, rows, FEATURES)).astype(np.float32)}
    if "L" in given:
        feeds["L"] = random.integers(0, steps, rows, endpoint=True).astype(np.int32)
        for row, length in enumerate(feeds["L"]):
            feeds["X"][length:, row] = padding
    if "H" in given:
        feeds["H"] = random.normal(size=(directions, rows, HIDDEN)).astype(np.float32)
    return feeds


OPTIONAL = [given for count in range(4) for given in itertools.combinations("BLH", count)]


@pytest.mark.parametrize("activation", ["Tanh", "Relu"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("given", OPTIONAL, ids=lambda given: "".join(given) or "none")
def test_every_form_of_the_operator(direction, activation, given):
    directions = 2 if direction == "bidirectional" else 1
    for outputs in (BOTH, FIRST, SECOND):
        model = rnn(direction, given=given, outputs=outputs, activations=[activation] * directions)
        loop = lowered(model)
        assert operators(loop).count("Scan") == 1
        assert "RNN" not in operators(loop)
        for seed, (rows, steps) in enumerate(SIZES):
            feeds = feeds_of(rows, steps, given, directions, seed)
            for found, expected in zip(run(loop, feeds), run(model, feeds), strict=True):
                assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
                np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6)


def test_rows_of_no_steps_only_are_zeros():
    for direction in ("forward", "reverse"):
        feeds = {**feeds_of(3, 4, "BLH", 1), "L": np.zeros(3, np.int32)}
        for array in run(lowered(rnn(direction)), feeds):
            assert not array.any()


def test_what_explodes_after_a_rows_end_does_not_leak():
    """The states of relu grow without limit, here to infinity and on to NaN, while the row's own are small."""
    constants = {**weights(1), "R": np.full((1, HIDDEN, HIDDEN), 50, np.float32)}
    model = rnn(activations=["Relu"], constants=constants)
    feeds = feeds_of(4, 40, "BLH", 1, padding=1e30) | {"L": np.array([1, 2, 1, 3], np.int32)}
    results = run(lowered(model), feeds)
    for found, expected in zip(results, run(model, feeds), strict=True):
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_float64():
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


def test_names_axes_and_dtypes_stay_and_weights_are_held_once():
    for direction in ("forward", "bidirectional"):
        before = onnx.load_model_from_string(model := rnn(direction))
        after = onnx.load_model_from_string(lowered(model))
        assert list(after.graph.input) == list(before.graph.input)
        assert list(after.graph.output) == list(before.graph.output)
        assert {tensor.name for tensor in after.graph.initializer}.isdisjoint({"W", "R", "B"})
        assert len(lowered(model)) < len(model) + 8_000


def test_the_same_model_gives_the_same_bytes():
    assert lowered(rnn("bidirectional")) == lowered(rnn("bidirectional"))


@pytest.mark.parametrize(
    "model",
    [
        rnn(clip=1.0),
        rnn(activations=["Sigmoid"]),
        rnn("bidirectional", activations=["Tanh", "Relu"]),
        rnn(activations=["Affine"], activation_alpha=[1.0], activation_beta=[0.0]),
    ],
    ids=["clipped", "sigmoid", "two activations", "parameters"],
)
def test_an_operator_that_no_loop_stands_for_is_left(model):
    assert lower_rnn(model) is None


def test_the_default_activation_is_tanh():
    node = helper.make_node("RNN", ["X", "W", "R"], ["Y"], hidden_size=HIDDEN)
    held = {name: array for name, array in weights(1).items() if name != "B"}
    loop = lowered(model_of([node], [value("X", "s", "b", FEATURES)], [value("Y", "s", 1, "b", HIDDEN)], held))
    feeds = feeds_of(2, 5, "", 1)
    np.testing.assert_array_equal(run(loop, feeds)[0], run(lowered(rnn(given="", outputs=FIRST)), feeds)[0])


def test_weights_that_a_run_computes_are_left():
    names = ("W", "R")
    inputs = [value("X", "s", "b", FEATURES), value("W", 1, HIDDEN, FEATURES), value("R", 1, HIDDEN, HIDDEN)]
    node = helper.make_node("RNN", ["X", *names], ["Y"], hidden_size=HIDDEN)
    outputs = [value("Y", "s", 1, "b", HIDDEN)]
    assert lower_rnn(model_of([node], inputs, outputs, {})) is None
    computed = [helper.make_node("Add", [name, name], [f"{name}2"]) for name in names]
    node = helper.make_node("RNN", ["X", "W2", "R2"], ["Y"], hidden_size=HIDDEN)
    held = {name: array for name, array in weights(1).items() if name in names}
    assert lower_rnn(model_of([*computed, node], inputs[:1], outputs, held)) is None


def test_gru_and_lstm_are_left_and_an_rnn_beside_them_is_not():
    random = np.random.default_rng(0)
    constants = weights(1) | {
        "GW": random.normal(size=(1, 3 * HIDDEN, HIDDEN)).astype(np.float32),
        "GR": random.normal(size=(1, 3 * HIDDEN, HIDDEN)).astype(np.float32),
    }
    axis = {"axis": np.array([1])}
    gru = [
        helper.make_node("Squeeze", ["Y", "axis"], ["squeezed"]),
        helper.make_node("GRU", ["squeezed", "GW", "GR"], ["", "out"], hidden_size=HIDDEN),
    ]
    first = helper.make_node("RNN", ["X", "W", "R", "B"], ["Y"], hidden_size=HIDDEN)
    inputs, outputs = [value("X", "s", "b", FEATURES)], [value("out", 1, "b", HIDDEN)]
    model = model_of([first, *gru], inputs, outputs, constants | axis)
    loop = lowered(model)
    assert {"Scan", "GRU"} <= set(operators(loop))
    feeds = feeds_of(4, 6, "", 1)
    np.testing.assert_allclose(run(loop, feeds)[0], run(model, feeds)[0], rtol=0, atol=3e-6)
    alone = helper.make_node("GRU", ["X", "GW", "GR"], ["", "out"], hidden_size=HIDDEN)
    inputs = [value("X", "s", "b", HIDDEN)]
    assert lower_rnn(model_of([alone], inputs, outputs, {n: a for n, a in constants.items() if n[0] == "G"})) is None
