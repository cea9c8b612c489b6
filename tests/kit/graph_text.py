"""ONNX graphs of a few operators, written in ONNX's own text syntax."""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
import onnx.parser
from onnx import TensorProto, helper, numpy_helper

from rnnserve.protos import manifest_pb2

FEATURES = 3
CONSTANTS: dict[str, np.ndarray] = {
    **{f"_{number}": np.array([number]) for number in (0, 1, 2, 3)},
    **{f"scalar_{number}": np.array(number) for number in (0, 1, 2)},
    "minus_1": np.array([-1]),
    "minus_2": np.array([-2]),
    "last": np.array(-1),
    "far": np.array([2**31 - 1]),
    "far_back": np.array([1 - 2**31]),
    "_1_2": np.array([1, 2]),
    "_2_3": np.array([2, 3]),
    "_1_1_2": np.array([1, 1, 2]),
    "_1_2_1": np.array([1, 2, 1]),
    "_0_0_3_1": np.array([0, 0, 3, 1]),
    "any_3": np.array([-1, 3]),
    "pad_before": np.array([0, 1, 0, 0, 0, 0]),
    "pad_after": np.array([0, 0, 0, 0, 1, 0]),
    "true": np.array(True),
    "zero": np.array(0, np.float32),
    "tiny": np.array(1e-9, np.float32),
    "half": np.array(0.5, np.float32),
    "two": np.array(2, np.float32),
    "four": np.array(4, np.float32),
    "minus_infinity": np.array(-np.inf, np.float32),
    "zero_one": np.array([0, 1], np.float32),
    "ones": np.ones(3, np.float32),
    "zeros": np.zeros(3, np.float32),
    "matrix": np.ones((3, 3), np.float32),
    "table": np.ones((40, 3), np.float32),
    "W": np.ones((1, 3, 3), np.float32),
    "B": np.zeros((1, 6), np.float32),
    "depthwise": np.ones((3, 1, 2), np.float32),
    **{f"kernel_{size}": np.ones((3, 3, size), np.float32) for size in (1, 2, 3)},
}
"""Tensors that any graph may read by name."""


def described(name: str, axes: Iterable[str | int], **more: Any) -> manifest_pb2.Tensor:
    """Describe a tensor, each of whose axes has a name or a fixed size."""
    tensor = manifest_pb2.Tensor(name=name, **more)
    for axis in axes:
        tensor.axes.add(name=str(axis), size=-1 if isinstance(axis, str) else axis)
    return tensor


INPUTS = [
    described("x", ("batch", "sequence", FEATURES)),
    described("lengths", ("batch",), lengths_of="sequence"),
]


def graph_of(nodes: str, *, opset: int = 20, constants: dict[str, np.ndarray] | None = None) -> onnx.ModelProto:
    """Make a model of x (batch, sequence, 3) and lengths (batch,) to y, from the text of its nodes."""
    known = CONSTANTS | (constants or {})
    words = set(re.findall(r"\w+", nodes))
    graph = helper.make_graph(
        parsed_nodes(nodes),
        "graph",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "sequence", FEATURES]),
            helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in known.items() if name in words],
    )
    opsets = [
        helper.make_opsetid("", opset),
        *(helper.make_opsetid(name, 1) for name in ("elsewhere", "com.microsoft")),
    ]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def parsed_nodes(text: str) -> list[onnx.NodeProto]:
    """Read nodes in ONNX's text syntax. A name in brackets stands before its node."""
    graph = onnx.parser.parse_graph(f"graph (float[n] x) => (float[n] y) {{ {text} }}")
    _forget_shapes(graph)
    return list(graph.node)


def _forget_shapes(graph: onnx.GraphProto) -> None:
    """Leave the shapes of floats in bodies open; ONNX's text has no way to write a tensor of any shape."""
    for node in graph.node:
        for body in (attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH):
            for value in (*body.input, *body.output):
                is_list = value.type.HasField("sequence_type")
                kind = value.type.sequence_type.elem_type if is_list else value.type
                if kind.tensor_type.elem_type == TensorProto.FLOAT:
                    kind.tensor_type.ClearField("shape")
            _forget_shapes(body)
