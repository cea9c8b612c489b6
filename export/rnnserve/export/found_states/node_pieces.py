"""The nodes that take the place of one, as they are put together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

__all__ = ["FAR", "NodePieces"]

FAR = 2**63 - 1
"""The end of any axis, for a Slice."""


class NodePieces:
    """Nodes and constants whose names begin with one prefix.

    Attributes:
        nodes: The nodes, in order.
        initializers: Their constants, of int64.
    """

    def __init__(self, prefix: str) -> None:
        """Begin without any.

        Args:
            prefix: Beginning of their names.
        """
        self._prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:  # noqa: ANN401 - as ONNX's own
        """Add a node, and give the name of its result."""
        name = output or f"{self._prefix}/{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, values: object) -> str:
        """Add a constant of int64, and give its name."""
        name = f"{self._prefix}/constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values, np.int64), name))
        return name

    def steps(self, tensor: str, axis: int, start: int, end: int, output: str = "") -> str:
        """Add a Slice along one axis, and give the name of its result."""
        bounds = [self.constant([number]) for number in (start, end, axis)]
        return self.add("Slice", [tensor, *bounds], output)

    def moved(self, node: onnx.NodeProto, given: str, result: str) -> onnx.NodeProto:
        """Add a copy of a node with another first input, and another result."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[0], copy.output[0] = given, result
        self.nodes.append(copy)
        return copy
