"""Adding nodes to a finished graph before one of its own."""

from typing import Any

import numpy.typing as npt
import onnx_ir as ir

__all__ = ["NodesBefore"]


class NodesBefore:
    """Adds nodes before another one, with names of their own."""

    def __init__(self, graph: ir.Graph, before: ir.Node, name: str) -> None:
        """Start with none.

        Args:
            graph: Graph of `before`.
            before: The node that the new ones precede.
            name: Beginning of the names of new values; a number follows.
        """
        self._graph, self._before, self._name, self._number = graph, before, name, 0

    def add(self, node: ir.Node) -> ir.Value:
        """Add a node with one result, and give that."""
        output = node.outputs[0]
        if output.name is None:
            output.name = f"{self._name}_{self._number}"
            self._number += 1
        self._graph.insert_before(self._before, node)
        return output

    def make(self, operator: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
        """Add a node of an operator."""
        return self.add(ir.node(operator, list(inputs), attributes))

    def constant(self, array: npt.NDArray[Any], dtype: ir.DataType) -> ir.Value:
        """Add a constant."""
        return self.add(ir.node("Constant", [], {"value": ir.tensor(array.astype(dtype.numpy()), dtype=dtype)}))
