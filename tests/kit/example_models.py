"""What an example of a model of any tensors is, and nodes that several of them have."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import onnx
from onnx import helper

from rnnserve.protos import manifest_pb2

Arrays = dict[str, np.ndarray]
PADDED, JOINED, ALONE = manifest_pb2.BATCHING_PADDED, manifest_pb2.BATCHING_JOINED, manifest_pb2.BATCHING_ALONE
FULL, ZEROS = manifest_pb2.DEFAULT_FULL_LENGTH, manifest_pb2.DEFAULT_ZEROS
INT64, FLOAT = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
TABLE = np.random.default_rng(1).normal(size=(12, 3)).astype(np.float32)  # (tokens, features)


class Example(NamedTuple):
    """A model, and numpy's answer to a request of it.

    Attributes:
        nodes: Of its graph.
        inputs: As in the manifest.
        outputs: As in the manifest.
        constants: Of the graph, by name.
        batching: Which requests may share a run.
        draw: Draws the inputs of a request.
        answer: Computes the outputs of a request.
    """

    nodes: list[onnx.NodeProto]
    inputs: list[manifest_pb2.Tensor]
    outputs: list[manifest_pb2.Tensor]
    constants: Mapping[str, np.ndarray]
    batching: manifest_pb2.BatchingMode.ValueType
    draw: Callable[[np.random.Generator], Arrays]
    answer: Callable[[Arrays], Arrays]


def node(operator: str, inputs: str, output: str, **attributes) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], output, **attributes)


def rows_and(numbers: np.random.Generator, most: int = 6) -> tuple[int, int]:
    """A batch, most often 1, and a length."""
    return int(numbers.choice([1, 1, 2, 3])), int(numbers.integers(1, most, endpoint=True))


def masked(axis: str, steps: str, ends: str, mask: str, *, sequence_first: bool = False) -> list[onnx.NodeProto]:
    """Nodes of a float mask (batch, steps), or (steps, batch), of the steps before each row's end."""
    return [
        node("Shape", axis, f"{mask}_shape", start=int(not sequence_first), end=1 + int(not sequence_first)),
        node("Squeeze", f"{mask}_shape", f"{mask}_count"),
        node("Range", f"zero {mask}_count one", steps),
        node("Unsqueeze", f"{steps} {'last' if sequence_first else 'first'}", f"{mask}_steps"),
        node("Unsqueeze", f"{ends} {'first' if sequence_first else 'last'}", f"{mask}_ends"),
        node("Less", f"{mask}_steps {mask}_ends", f"{mask}_bool"),
        node("Cast", f"{mask}_bool", mask, to=FLOAT),
    ]


SCALARS = {"zero": np.array(0), "one": np.array(1), "first": np.array([0]), "last": np.array([1])}


def ends_of(sent: Arrays, name: str, batch: int, size: int) -> np.ndarray:
    return sent.get(name, np.full(batch, size))
