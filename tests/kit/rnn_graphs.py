"""RNN operators given some of their optional inputs, and the loops that stand in their place."""

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from rnnserve.export.lowering import lower_rnn

FEATURES, HIDDEN = 3, 5
SIZES = ((1, 1), (2, 5), (7, 4), (4, 33))
"""Rows and steps."""

BOTH = ("Y", "Y_h")


def value(name, *shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, list(shape))


def weights(directions):
    random = np.random.default_rng(directions)
    shapes = {"W": (HIDDEN, FEATURES), "R": (HIDDEN, HIDDEN), "B": (2 * HIDDEN,)}
    drawn = {name: random.normal(scale=0.4, size=(directions, *shape)) for name, shape in shapes.items()}
    return {name: array.astype(np.float32) for name, array in drawn.items()}


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
    """Inputs. Rows have any number of steps, none included, and after them what must not be read."""
    random = np.random.default_rng(seed)
    feeds = {"X": random.normal(size=(steps, rows, FEATURES)).astype(np.float32)}
    if "L" in given:
        feeds["L"] = random.integers(0, steps, rows, endpoint=True).astype(np.int32)
        for row, length in enumerate(feeds["L"]):
            feeds["X"][length:, row] = padding
    if "H" in given:
        feeds["H"] = random.normal(size=(directions, rows, HIDDEN)).astype(np.float32)
    return feeds


def check_loop(direction, activation, given, outputs=BOTH):
    """Lower an operator, and compare the loop with it at several sizes."""
    directions = 2 if direction == "bidirectional" else 1
    model = rnn(direction, given=given, outputs=outputs, activations=[activation] * directions)
    loop = lowered(model)
    assert operators(loop).count("Scan") == 1
    assert "RNN" not in operators(loop)
    for seed, (rows, steps) in enumerate(SIZES):
        feeds = feeds_of(rows, steps, given, directions, seed)
        for found, expected in zip(run(loop, feeds), run(model, feeds), strict=True):
            assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
            np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6)
