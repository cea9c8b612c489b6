"""The values of an ONNX model."""

from collections.abc import Iterator

import onnx_ir as ir

__all__ = ["values_of"]


def values_of(model: ir.Model) -> Iterator[ir.Value]:
    """Give every input, initializer and result of a node, of all graphs."""
    for graph in model.graphs():
        yield from graph.inputs
        yield from graph.initializers.values()
        for node in graph:
            yield from node.outputs
