"""The values of an ONNX model: all of them, and those that something uses."""

from collections.abc import Iterator

import onnx_ir as ir

__all__ = ["integers_of", "remove_unused", "values_of"]


def values_of(model: ir.Model) -> Iterator[ir.Value]:
    """Give every input, initializer and result of a node, of all graphs."""
    for graph in model.graphs():
        yield from graph.inputs
        yield from graph.initializers.values()
        for node in graph:
            yield from node.outputs


def integers_of(value: ir.Value | None) -> list[int] | None:
    """Give the elements of a constant, in order; None where the value is none."""
    constant = None if value is None else value.const_value
    return None if constant is None else [int(number) for number in constant.numpy().flat]


def remove_unused(graph: ir.Graph) -> None:
    """Remove nodes and initializers that nothing uses.

    onnx-ir's RemoveUnusedNodesPass removes the optional outputs of used nodes, too: a module that gives `h_n` only
    would have other bytes than before.
    """
    kept = set(graph.outputs)
    for node in reversed(graph):
        if not any(output.uses() or output in kept for output in node.outputs):
            graph.remove(node, safe=True)
    for name, initializer in list(graph.initializers.items()):
        if not initializer.uses() and initializer not in kept:
            del graph.initializers[name]
