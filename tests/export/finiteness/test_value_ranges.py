"""Which values of a graph can be NaN or infinite though the inputs are finite: operator by operator, and in wholes."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from rnnserve.export.finiteness import describe_finiteness
from rnnserve.export.finiteness.value_ranges import ValueRanges
from rnnserve.export.parity import OnnxRunner


def graph(*nodes, constants=(), outputs=("y",)) -> onnx.ModelProto:
    made = helper.make_graph(
        [helper.make_node(*node[:3], **(node[3] if len(node) > 3 else {})) for node in nodes],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "sequence", 4])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def may_not_be_finite(*nodes, constants=()) -> bool:
    model = graph(*nodes, constants=constants)
    described = describe_finiteness(model.SerializeToString(), finite_inputs=True, is_guarded=True)
    return list(described.outputs) == ["y"]


EPSILON = ("e", np.float32(1e-9))
ONES = ("w", np.ones((4, 4), np.float32))
AXES = ("axes", np.array([-1]))
SQUARE = ("Mul", ["x", "x"], ["s"])
MEAN = ("ReduceMean", ["s", "axes"], ["m"])

Cases = dict[str, tuple[list[Any], list[Any]]]
"""By name: nodes, and constants."""

FINITE: Cases = {
    "linear": ([("MatMul", ["x", "w"], ["y"])], [ONES]),
    "root of a mean of squares": ([SQUARE, MEAN, ("Sqrt", ["m"], ["y"])], [AXES]),
    "divided by a deviation and an epsilon": (
        [SQUARE, MEAN, ("Sqrt", ["m"], ["d"]), ("Add", ["d", "e"], ["f"]), ("Div", ["x", "f"], ["y"])],
        [AXES, EPSILON],
    ),
    "logarithm of a square and an epsilon": ([SQUARE, ("Add", ["s", "e"], ["p"]), ("Log", ["p"], ["y"])], [EPSILON]),
    "exponential of a tanh": ([("Tanh", ["x"], ["t"]), ("Exp", ["t"], ["y"])], []),
    "softmax": ([("Softmax", ["x"], ["y"])], []),
    "logarithm of what is clamped": (
        [("Clip", ["x", "e", ""], ["c"]), ("Log", ["c"], ["y"])], [EPSILON],
    ),
    "a power": ([("Pow", ["x", "two"], ["y"])], [("two", np.float32(2))]),
    "whole numbers of what is not finite": (
        [("Log", ["x"], ["l"]), ("Cast", ["l"], ["i"], {"to": TensorProto.INT64}),
         ("Cast", ["i"], ["y"], {"to": TensorProto.FLOAT})], [],
    ),
}  # fmt: skip

NOT_FINITE: Cases = {
    "logarithm": ([("Log", ["x"], ["y"])], []),
    "logarithm of a sum that can be negative": ([("Add", ["x", "e"], ["p"]), ("Log", ["p"], ["y"])], [EPSILON]),
    "root": ([("Sqrt", ["x"], ["y"])], []),
    "exponential": ([("Exp", ["x"], ["y"])], []),
    "divided by a deviation": (
        [SQUARE, MEAN, ("Sqrt", ["m"], ["d"]), ("Div", ["x", "d"], ["y"])], [AXES],
    ),
    "divided by what was cut to zero": ([("Relu", ["x"], ["r"]), ("Div", ["x", "r"], ["y"])], []),
    "reciprocal": ([("Reciprocal", ["x"], ["y"])], []),
    "a high power": ([("Pow", ["x", "four"], ["y"])], [("four", np.float32(4))]),
    "a mask of infinity": ([("Where", ["k", "x", "i"], ["y"])], [("k", np.array(True)), ("i", np.float32(-np.inf))]),
    "what comes after": ([("Log", ["x"], ["l"]), ("MatMul", ["l", "w"], ["y"])], [ONES]),
    "an operator without a rule": ([("Acos", ["x"], ["y"])], []),
}  # fmt: skip


@pytest.mark.parametrize("name", FINITE)
def test_what_is_finite(name):
    nodes, constants = FINITE[name]
    assert not may_not_be_finite(*nodes, constants=constants)


@pytest.mark.parametrize("name", NOT_FINITE)
def test_what_may_not_be(name):
    nodes, constants = NOT_FINITE[name]
    assert may_not_be_finite(*nodes, constants=constants)


def scan(*body, constants=()) -> onnx.ModelProto:
    """A loop over the sequence: `h` is the state, `step` a step, `g` the next state, which is also given."""
    steps = helper.make_graph(
        [helper.make_node(*node) for node in (*body, ("Identity", ["g"], ["out"]))],
        "body",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("h", "step")],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("g", "out")],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants],
    )
    more = {"num_scan_inputs": 1, "body": steps, "scan_input_axes": [1], "scan_output_axes": [1]}
    mean = ("ReduceMean", ["x", "one"], ["h_0"], {"keepdims": 0})
    return graph(mean, ("Scan", ["h_0", "x"], ["last", "y"], more), constants=[("one", np.array([1]))])


@pytest.mark.parametrize(
    ("body", "is_finite"),
    [
        ([("Add", ["h", "step"], ["a"]), ("Tanh", ["a"], ["g"])], True),
        ([("Sigmoid", ["step"], ["z"]), ("Mul", ["z", "h"], ["g"])], True),
        ([("Add", ["h", "step"], ["g"])], False),
        ([("Log", ["step"], ["l"]), ("Tanh", ["l"], ["g"])], False),
    ],
    ids=["bounded", "decaying", "a sum without end", "a logarithm"],
)
def test_states_of_a_loop(body, is_finite):
    described = describe_finiteness(scan(*body).SerializeToString(), finite_inputs=True, is_guarded=True)
    assert (list(described.outputs) == []) == is_finite


def test_ranges_hold_what_operators_give():
    """The values of a graph lie within the ranges that were found of them."""
    nodes = [
        ("Tanh", ["x"], ["t"]), ("MatMul", ["t", "w"], ["m"]), ("Exp", ["t"], ["e1"]), ("Sub", ["m", "e1"], ["d"]),
        ("Softmax", ["d"], ["s"]), ("Div", ["d", "e1"], ["q"]), ("LeakyRelu", ["q"], ["l"]), ("Neg", ["l"], ["n"]),
        ("Gelu", ["n"], ["g"]), ("Softplus", ["n"], ["p"]), ("Log", ["p1"], ["o"]), ("Add", ["g", "o"], ["y"]),
    ]  # fmt: skip
    nodes.insert(10, ("Add", ["p", "one"], ["p1"]))
    weights = np.random.default_rng(1).normal(size=(4, 4)).astype(np.float32)
    names = [output for node in nodes for output in node[2]]
    model = graph(*nodes, constants=[("w", weights), ("one", np.float32(1))], outputs=names)
    x = np.random.default_rng(0).normal(size=(5, 7, 4)).astype(np.float32) * 100
    found = OnnxRunner(model.SerializeToString())({"x": x})
    loaded = ir.serde.deserialize_model(model).graph
    ranges = ValueRanges(loaded, finite_inputs=True)
    for value in loaded.outputs:
        range = ranges.of(value)
        assert range.finite
        assert range.low - 1e-4 <= found[value.name].min()
        assert found[value.name].max() <= range.high + 1e-4
