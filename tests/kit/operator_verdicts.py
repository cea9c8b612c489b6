"""What is decided of a few operators, given as words, for a batch of rows with lengths."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kit.proven_graphs import INPUTS
from rnnserve.export.dataflow import Property, decide, worst
from rnnserve.protos import manifest_pb2

__all__ = ["BATCH", "ROW", "SEQUENCE", "WHOLE", "described", "model_of", "verdicts"]

FAR = 2**31 - 1
BATCH, SEQUENCE = ("batch", -1), ("sequence", -1)
# Axes of an output: steps of features for each row, or features alone.
WHOLE, ROW = [BATCH, SEQUENCE, ("features", 3)], [BATCH, ("features", 3)]
# What the operators of a graph may take beside the inputs x (batch, sequence, 3) and lengths (batch,).
CONSTANTS = {
    "zero": np.array([0]),
    "one": np.array([1]),
    "two": np.array([2]),
    "three": np.array([3]),
    "minus": np.array([-1]),
    "far": np.array([FAR]),
    "scalar_0": np.array(0),
    "scalar_1": np.array(1),
    "last": np.array(-1),
    "half": np.float32(0.5),
    "nothing": np.float32(0),
    "infinite": np.float32(-np.inf),
    "weights": np.ones((3, 3), np.float32),
    "W": np.ones((1, 3, 3), np.float32),
    "W2": np.ones((2, 3, 3), np.float32),
    "kernel": np.ones((3, 3, 3), np.float32),
    "table": np.ones((40, 3), np.float32),
    "flat": np.array([-1, 3]),
    "head": np.array([0, 1, 0, 0, 0, 0]),
    "tail": np.array([0, 0, 0, 0, 1, 0]),
    "pads": np.array([1]),
    "yes": np.array(True),
    "bias": np.zeros((1, 6), np.float32),
    "values": np.array([0, 1], np.float32),
    "two_three": np.array([2, 3]),
    "parts": np.array([1, 2]),
    "twice_features": np.array([1, 1, 2]),
    "twice_steps": np.array([1, 2, 1]),
    "columns": np.array([0, 0, 3, 1]),
    "backwards": np.array([1 - 2**31]),
    "scale": np.ones(3, np.float32),
    "offset": np.zeros(3, np.float32),
    "kernel_of_one": np.ones((3, 3, 1), np.float32),
    "kernel_of_two": np.ones((3, 3, 2), np.float32),
}


def verdicts(nodes, axes, functions=(), opset=20):
    """Decide rows, padding and causality of a graph: for each "+" for proven, "-" for refuted, "?" for not decided.

    Args:
        nodes: For each node its operator, its inputs and its outputs, as words, and its attributes.
        axes: Name and size of each axis of the output y.
        functions: Functions of the file.
        opset: Its operator set.
    """
    found = decide(model_of(nodes, functions, opset), INPUTS, [described(axes)])
    return "".join(
        {"proven": "+", "refuted": "-", "not decided": "?"}[worst(found[kind].values()).verdict] for kind in Property
    )


def model_of(nodes, functions=(), opset=20):
    """Make the model, which onnxruntime runs."""
    bodies = any(isinstance(value, onnx.GraphProto) for *_, more in nodes for value in more.values())
    read = set(CONSTANTS) if bodies else {name for _, given, _, _ in nodes for name in given.split()}
    graph = helper.make_graph(
        [helper.make_node(op, given.split(), results.split(), **more) for op, given, results, more in nodes],
        "graph",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "sequence", 3]),
            helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in CONSTANTS.items() if name in read],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], functions=functions, ir_version=10)


def described(axes):
    """Describe the output y, of which name and size of each axis are given."""
    output = manifest_pb2.Tensor(name="y")
    for name, size in axes:
        output.axes.add(name=name, size=size)
    return output
