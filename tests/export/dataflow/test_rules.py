"""What single operators do to rows, padding and steps: also what looks harmless and is not, and the other way round."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kit.operator_verdicts import ROW, WHOLE, verdicts
from kit.proven_graphs import INPUTS
from rnnserve.export.dataflow import Property, decide, worst
from rnnserve.protos import manifest_pb2

# For each: rows, padding, causality: + proven, - refuted, ? not decided.
CASES = {
    "elementwise": ("+++", [("Tanh", "x", "y", {})], WHOLE),
    "a linear map": ("+++", [("MatMul", "x weights", "y", {})], WHOLE),
    "a mean over rows": ("-++", [("ReduceMean", "x zero", "m", {"keepdims": 1}), ("Sub", "x m", "y", {})], WHOLE),
    "a rare value in any row": (
        "---",
        [
            ("Equal", "x half", "e", {}),
            ("Cast", "e", "c", {"to": TensorProto.FLOAT}),
            ("ReduceMax", "c", "any", {"keepdims": 0}),
            ("Add", "x any", "y", {}),
        ],
        WHOLE,
    ),
    "a mean over steps": ("+--", [("ReduceMean", "x one", "y", {"keepdims": 0})], ROW),
    "a forward layer": (
        "+++",
        [
            ("Transpose", "x", "t", {"perm": [1, 0, 2]}),
            ("RNN", "t W W", "r", {"hidden_size": 3}),
            ("Squeeze", "r one", "s", {}),
            ("Transpose", "s", "y", {"perm": [1, 0, 2]}),
        ],
        WHOLE,
    ),
    "a backward layer": (
        "+--",
        [
            ("Transpose", "x", "t", {"perm": [1, 0, 2]}),
            ("RNN", "t W W", "r", {"hidden_size": 3, "direction": "reverse"}),
            ("Squeeze", "r one", "s", {}),
            ("Transpose", "s", "y", {"perm": [1, 0, 2]}),
        ],
        WHOLE,
    ),
    "a layer that runs over rows": (
        "-++",
        [("RNN", "x W W", "r", {"hidden_size": 3}), ("Squeeze", "r one", "y", {})],
        WHOLE,
    ),
    "a causal convolution": (
        "+++",
        [
            ("Transpose", "x", "t", {"perm": [0, 2, 1]}),
            ("Conv", "t kernel", "c", {"pads": [2, 0], "kernel_shape": [3]}),
            ("Transpose", "c", "y", {"perm": [0, 2, 1]}),
        ],
        WHOLE,
    ),
    "a convolution that reads ahead": (
        "+--",
        [
            ("Transpose", "x", "t", {"perm": [0, 2, 1]}),
            ("Conv", "t kernel", "c", {"pads": [1, 1], "kernel_shape": [3]}),
            ("Transpose", "c", "y", {"perm": [0, 2, 1]}),
        ],
        WHOLE,
    ),
    "parts of the features": (
        "+++",
        [
            ("SplitToSequence", "x scalar_1", "parts", {"axis": 2}),
            ("SequenceAt", "parts scalar_0", "a", {}),
            ("SequenceAt", "parts last", "b", {}),
            ("Concat", "a b a", "y", {"axis": 2}),
        ],
        WHOLE,
    ),
    "parts put together in a way that no rule covers": (
        "???",
        [
            ("SplitToSequence", "x scalar_1", "parts", {"axis": 2}),
            ("ConcatFromSequence", "parts", "y", {"axis": 2}),
        ],
        WHOLE,
    ),
    "an operator of which nothing is known": ("???", [("NoSuchOperator", "x", "y", {"domain": "else.where"})], WHOLE),
    "a random drop": ("???", [("Dropout", "x half yes", "y", {})], WHOLE),
}


@pytest.mark.parametrize(("expected", "nodes", "axes"), CASES.values(), ids=CASES)
def test_what_is_decided(expected, nodes, axes):
    assert verdicts(nodes, axes) == expected


def test_a_function_of_the_file_under_an_operators_name_is_not_taken_for_it():
    body = [helper.make_node("ReduceMean", ["x"], ["y"])]
    function = helper.make_function("mine", "Tanh", ["x"], ["y"], body, [helper.make_opsetid("", 20)])
    assert verdicts([("Tanh", "x", "y", {"domain": "mine"})], WHOLE, [function]) == "???"


def test_shapes_in_the_file_are_not_believed():
    """Sizes that a file writes beside its values may be wrong: here, that a mean over the batch has a row each."""
    node = helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=0)
    graph = helper.make_graph(
        [node, helper.make_node("Add", ["x", "m"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "sequence", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "sequence", 3])],
        [numpy_helper.from_array(np.array([0]), "axes")],
        value_info=[helper.make_tensor_value_info("m", TensorProto.FLOAT, ["batch", "sequence", 3])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    output = manifest_pb2.Tensor(name="y")
    for name, size in WHOLE:
        output.axes.add(name=name, size=size)
    assert worst(decide(model, INPUTS[:1], [output])[Property.ROWS].values()).verdict == "refuted"
