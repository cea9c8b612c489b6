"""What carries something from step to step in a graph, and how the graph is cut there."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES

__all__ = ["FoundState", "Obstacle", "Place", "datatype_of"]


class Obstacle(Exception):
    """A graph cannot be cut at one of its nodes; the message says which and why, as the end of "since"."""


@dataclasses.dataclass(frozen=True)
class FoundState:
    """Something that is carried from one step to the next, exposed as an input and an output.

    Attributes:
        initial: The input, described; its default is zeros, or recorded.
        final: The output that continues as it, described.
        default: The value of size 1 along the batch that stands for the input, where it is known and not zeros.
        computed: The tensor of the uncut graph that holds the initial value, where that has to be computed.
    """

    initial: manifest_pb2.Tensor
    final: manifest_pb2.Tensor
    default: npt.NDArray[Any] | None = None
    computed: str = ""


@dataclasses.dataclass(frozen=True)
class Place:
    """A node that carries something from step to step.

    Attributes:
        node: Its number in the graph.
        nodes: By number of a node, itself or one that reads its result: the nodes that take the place of that one,
            which read initial states and give final ones.
        initializers: Constants of these.
        states: What it carries; without those that the model declares.
        before: The results of nodes that only prepare what it reads.
        unread: The names of its inputs of which no result is made that the graph reads.
    """

    node: int
    nodes: Mapping[int, Sequence[onnx.NodeProto]]
    initializers: Sequence[onnx.TensorProto]
    states: Sequence[FoundState]
    before: Sequence[str] = ()
    unread: Sequence[str] = ()


def datatype_of(element_type: int) -> str:
    """Give the protocol's name of a datatype of ONNX.

    Raises:
        Obstacle: If the protocol has none.
    """
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(element_type)
    except KeyError:
        dtype = np.dtype(object)
    for name, known in DTYPES.items():
        if known == dtype:
            return name
    raise Obstacle(f"what it carries is of a datatype that no request has ({dtype})")
