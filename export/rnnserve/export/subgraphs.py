"""Nodes of a graph and of the graphs inside it: the bodies of loops, the branches of choices."""

from collections.abc import Iterator, Mapping

import onnx

__all__ = ["all_nodes", "rename"]


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Give every node, in order; those of a node's own graphs after it."""
    for node in graph.node:
        yield node
        for inner in _graphs(node):
            yield from all_nodes(inner)


def rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Give tensors other names, wherever they are read or made."""
    for value in (*graph.input, *graph.output):
        value.name = names.get(value.name, value.name)
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in graph.node:
        for listed in (node.input, node.output):
            renamed = [names.get(name, name) for name in listed]
            del listed[:]
            listed.extend(renamed)
        for inner in _graphs(node):
            rename(inner, names)


def _graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs
