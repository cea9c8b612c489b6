"""Rewriting a finished graph: by operator, a table has what is written in the place of a node; one loop does it."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

__all__ = ["NodesBefore", "Rewrite", "rewrite"]


class NodesBefore:
    """Adds nodes before another one, with names of their own.

    Attributes:
        graph: Graph of the other node.
    """

    def __init__(self, graph: ir.Graph, before: ir.Node, name: str) -> None:
        """Start with none.

        Args:
            graph: Graph of `before`.
            before: The node that the new ones precede.
            name: Beginning of the names of new values; a number follows.
        """
        self.graph, self._before, self._name, self._number = graph, before, name, 0

    def add(self, node: ir.Node) -> ir.Value:
        """Add a node with one result, and give that."""
        output = node.outputs[0]
        if output.name is None:
            output.name = f"{self._name}_{self._number}"
            self._number += 1
        self.graph.insert_before(self._before, node)
        return output

    def make(self, operator: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
        """Add a node of an operator."""
        return self.add(ir.node(operator, list(inputs), attributes))

    def again(self, node: ir.Node, *inputs: ir.Value | None) -> ir.Value:
        """Add a node like another one, with inputs in the place of its first ones; give its first result."""
        given = [*inputs, *node.inputs[len(inputs) :]]
        result = self.add(ir.node(node.op_type, given, dict(node.attributes)))
        result.type, result.shape = node.outputs[0].type, node.outputs[0].shape
        return result

    def constant(self, array: npt.ArrayLike, dtype: ir.DataType) -> ir.Value:
        """Add a constant."""
        tensor = ir.tensor(np.asarray(array).astype(dtype.numpy()), dtype=dtype)
        return self.add(ir.node("Constant", [], {"value": tensor}))


Rewrite: TypeAlias = Callable[[NodesBefore, ir.Node], ir.Value | None]
"""Writes nodes before one, and gives what takes the place of its first result; None to leave the node as it is."""


def rewrite(model: ir.Model, rewrites: Mapping[str, Rewrite]) -> None:
    """Rewrite, in place, the nodes of each graph whose operators the table has; new nodes stay as they are written."""
    for graph in list(model.graphs()):
        for node in _used(graph):
            change = rewrites.get(node.op_type)
            if change is not None:
                found = change(NodesBefore(graph, node, f"{node.outputs[0].name or node.op_type}/before"), node)
                if found is not None:
                    _replace(graph, node, found)


def _used(graph: ir.Graph) -> Iterable[ir.Node]:
    """Give the nodes of which something uses a result, as they are at the beginning."""
    return [node for node in graph if any(output.uses() or output.is_graph_output() for output in node.outputs)]


def _replace(graph: ir.Graph, node: ir.Node, found: ir.Value) -> None:
    result = node.outputs[0]
    found.type, found.shape = found.type or result.type, result.shape
    result.replace_all_uses_with(found, replace_graph_outputs=True)
    found.name, result.name = result.name, f"{result.name}/replaced"
    if not any(output.uses() for output in node.outputs):
        graph.remove(node, safe=True)
