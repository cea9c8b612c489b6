"""Small graphs of which sequences are cut into parts."""

import dataclasses

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from kit.graph_text import parsed_nodes
from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.found_states.parts_file import find_parts
from rnnserve.export.parity import OnnxRunner
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MODEL

__all__ = ["FEATURES", "CutGraph"]

FEATURES = 3
_DRAWN = np.random.default_rng(5)


def _weights(*shape):
    return _DRAWN.normal(size=shape).astype(np.float32)


# What the operators of a graph may take beside the inputs x (batch, sequence, 3) and lengths (batch,).
CONSTANTS = {
    "zero": np.array([0]),
    "one": np.array([1]),
    "minus": np.array([-1]),
    "minus_two": np.array([-2]),
    "two": np.array([2]),
    "three": np.array([FEATURES]),
    "last": np.array(-1),
    "far": np.array([2**31 - 1]),
    "scalar_0": np.array(0),
    "scalar_1": np.array(1),
    "weights": _weights(FEATURES, FEATURES),
    "kernel": _weights(FEATURES, FEATURES, 3),
    "bias": _weights(FEATURES),
    "scale": np.abs(_weights(FEATURES)) + 1,
    "before_two": np.array([0, 0, 2, 0, 0, 0]),
    "W": _weights(1, 3 * FEATURES, FEATURES),
    "R": _weights(1, 3 * FEATURES, FEATURES),
    "W1": _weights(1, FEATURES, FEATURES),
    "R1": _weights(1, FEATURES, FEATURES),
    "W4": _weights(1, 4 * FEATURES, FEATURES),
    "R4": _weights(1, 4 * FEATURES, FEATURES),
    "W_both": _weights(2, 3 * FEATURES, FEATURES),
    "learned": _weights(1, 1, FEATURES),
    "empty": np.zeros(0, np.float32),
    "any_3": np.array([-1, FEATURES]),
    "loud": np.array(60, np.float32),
    "late": np.array(600),
}


@dataclasses.dataclass(frozen=True)
class CutGraph:
    """A graph from x (batch, sequence, 3), and perhaps lengths and h_0 (1, batch, 3), to y.

    Attributes:
        nodes: ONNX text; or for each node its operator, its inputs and outputs, as words ("-" for one that is left
            out), and its attributes, with "name" among them.
        has_steps: Whether y has a step for each of x.
        inputs: The inputs beside x: "lengths", "h_0".
        states: By final state that is declared, the initial one.
    """

    nodes: list | str
    has_steps: bool = True
    inputs: tuple = ()
    states: dict = dataclasses.field(default_factory=dict)

    @property
    def model(self):
        """The graph."""
        kinds = {
            "x": helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "sequence", FEATURES]),
            "lengths": helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"]),
            "h_0": helper.make_tensor_value_info("h_0", TensorProto.FLOAT, [1, "batch", FEATURES]),
        }
        nodes = parsed_nodes(self.nodes) if isinstance(self.nodes, str) else [_node(*each) for each in self.nodes]
        words = {name for node in nodes for name in node.input}
        words |= {
            name for node in nodes for attribute in node.attribute for inner in attribute.g.node for name in inner.input
        }
        graph = helper.make_graph(
            nodes,
            "graph",
            [kinds[name] for name in ("x", *self.inputs)],
            [self._value(name) for name in ("y", *self.states)],
            [numpy_helper.from_array(value, name) for name, value in CONSTANTS.items() if name in words],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)

    @property
    def description(self):
        """Its description."""
        batch, sequence = manifest_pb2.Axis(name="batch", size=-1), manifest_pb2.Axis(name="sequence", size=-1)
        features = manifest_pb2.Axis(name="features", size=FEATURES)
        layers = manifest_pb2.Axis(name="layers", size=1)
        kinds = {
            "x": manifest_pb2.Tensor(name="x", datatype="FP32", axes=[batch, sequence, features]),
            "lengths": manifest_pb2.Tensor(name="lengths", datatype="INT64", axes=[batch], lengths_of="sequence"),
            "h_0": manifest_pb2.Tensor(
                name="h_0", datatype="FP32", axes=[layers, batch, features], default=manifest_pb2.DEFAULT_ZEROS
            ),
        }
        y = [batch, sequence, features] if self.has_steps else [batch, features]
        outputs = [manifest_pb2.Tensor(name="y", datatype="FP32", axes=y)]
        for final, initial in self.states.items():
            outputs.append(
                manifest_pb2.Tensor(name=final, datatype="FP32", axes=[layers, batch, features], continues_as=initial)
            )
        return ModelDescription(
            name="graph",
            inputs=[kinds[name] for name in ("x", *self.inputs)],
            outputs=outputs,
            labels=(),
            samples=(),
            sizes={"batch": (1, 33), "sequence": (1, 64)},
            checkpoint_sha256="",
        )

    def parts(self):
        """What is found of it, and tried."""
        return find_parts(self.description, MODEL, {MODEL: self.model.SerializeToString()}, OnnxRunner)

    def _value(self, name):
        last: list[str | int] = ["batch", "sequence", FEATURES] if self.has_steps else ["batch", FEATURES]
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "batch", FEATURES] if name != "y" else last)


def _node(operator, given, results, attributes):
    return helper.make_node(operator, _words(given), _words(results), **attributes)


def _words(text):
    return text.replace("-", "").split(" ") if text else []
