"""The values of an ONNX model: all of them, those that something uses, and types that torch's exporter leaves out."""

from collections.abc import Iterator

import onnx
import onnx_ir as ir

__all__ = ["fill_types", "integers_of", "remove_unused", "values_of"]


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


_NAMED = {f"tensor({name})": ir.DataType[member] for name, member in (("bool", "BOOL"), ("int64", "INT64"))}


def fill_types(model: ir.Model) -> None:
    """Give every value a type that has none and whose operator tells it, in place; shapes stay as they are."""
    version = model.opset_imports.get("", 0)
    for graph in model.graphs():
        for node in graph:
            for position, output in enumerate(node.outputs):
                if output.dtype is None:
                    found = _type_of(node, position, version)
                    if found is not None:
                        output.type = ir.TensorType(found)


def _type_of(node: ir.Node, position: int, version: int) -> ir.DataType | None:
    match node.op_type:
        case "Cast":
            return ir.DataType(node.attributes["to"].as_int())
        case "Constant":
            return _of_constant(node)
        case "ConstantOfShape":
            value = node.attributes.get("value")
            return ir.DataType.FLOAT if value is None else value.as_tensor().dtype
    if node.domain or not onnx.defs.has(node.op_type, version):
        return None
    schema = onnx.defs.get_schema(node.op_type, version)
    formal = schema.outputs[min(position, len(schema.outputs) - 1)].type_str
    if formal in _NAMED:
        return _NAMED[formal]
    for at, source in enumerate(node.inputs):
        same = schema.inputs[min(at, len(schema.inputs) - 1)].type_str == formal
        if same and source is not None and source.dtype is not None:
            return source.dtype
    return None


def _of_constant(node: ir.Node) -> ir.DataType | None:
    if "value" in node.attributes:
        return node.attributes["value"].as_tensor().dtype
    if "value_float" in node.attributes or "value_floats" in node.attributes:
        return ir.DataType.FLOAT
    return ir.DataType.INT64 if "value_int" in node.attributes or "value_ints" in node.attributes else None
