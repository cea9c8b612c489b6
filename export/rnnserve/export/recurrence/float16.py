"""Computing float16 modules in float32: inputs and outputs stay float16, every operator between them is float32.

onnxruntime's CPU provider has few float16 kernels, and puts a Cast before and after each other operator. Where the
operators are a Transpose and a MatMul, as of a Linear layer after a batch-first recurrent one, its optimizer then ends
the process (docs/lab/findings.md, "Exporting recurrent modules"). In float32 there is no such graph, and values are
rounded once, at the outputs, which brings them nearer to float64 than those of eager.

MatmulTransposeFusion of onnxruntime 1.32 causes that segmentation fault when it casts before it transposes itself, with
a Transpose that does not exchange the last two axes. So every Cast after a Transpose comes before it here.
"""

import numpy as np
import onnx_ir as ir

from rnnserve.export.recurrence.graph_values import values_of

__all__ = ["cast_before_transposing", "compute_float16_in_float32"]

_HALF, _FLOAT = ir.DataType.FLOAT16, ir.DataType.FLOAT


def compute_float16_in_float32(model: ir.Model) -> None:
    """Make every float16 of a model float32, in place.

    Inputs and outputs stay float16, and what the module itself converts to float16 is rounded as in eager.
    """
    if not any(value.dtype == _HALF for value in values_of(model)):
        return
    kept = [value for value in model.graph.inputs if value.dtype == _HALF]
    outputs = [position for position, value in enumerate(model.graph.outputs) if value.dtype == _HALF]
    for node in model.graph.all_nodes():
        if node.op_type == "Cast" and node.outputs[0].dtype == _HALF:
            kept.append(node.outputs[0])
        else:
            _widen_attributes(node)
    for value in values_of(model):
        if value.dtype == _HALF and value not in kept:
            value.type = ir.TensorType(_FLOAT)  # a new one: values may share theirs
            if value.const_value is not None:
                value.const_value = _widened(value.const_value)
    for value in kept:
        _read_as_float32(model.graph, value)
    for position in outputs:
        if model.graph.outputs[position] not in kept:
            _narrow_output(model.graph, position)


def _widened(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.tensor(tensor.numpy().astype(np.float32), name=tensor.name)


def _widen_attributes(node: ir.Node) -> None:
    """Change the attributes by which an operator makes float16 tensors: constants, and a data type to make."""
    for name, attribute in list(node.attributes.items()):
        if attribute.type is ir.AttributeType.TENSOR and attribute.as_tensor().dtype == _HALF:
            node.attributes[name] = ir.AttrTensor(name, _widened(attribute.as_tensor()))
        if name == "dtype" and attribute.as_int() == _HALF.value:
            node.attributes[name] = ir.AttrInt64(name, _FLOAT.value)


def _read_as_float32(graph: ir.Graph, value: ir.Value) -> None:
    """Let all nodes that use a float16 value use a float32 copy of it."""
    users = list(value.uses())
    if not users:
        return
    wide = ir.Value(name=f"{value.name}/float32", type=ir.TensorType(_FLOAT), shape=value.shape)
    for user, position in users:
        user.replace_input_with(position, wide)
    cast = ir.node("Cast", [value], {"to": _FLOAT.value}, outputs=[wide])
    producer = value.producer()
    if producer is None:
        graph.insert_before(next(iter(graph)), cast)
    else:
        assert producer.graph is not None  # noqa: S101 - the node is in the model
        producer.graph.insert_after(producer, cast)


def _narrow_output(graph: ir.Graph, position: int) -> None:
    """Make an output of the graph float16 again; it keeps its name."""
    wide = graph.outputs[position]
    narrow = ir.Value(name=wide.name, type=ir.TensorType(_HALF), shape=wide.shape)
    wide.name = f"{wide.name}/float32"
    graph.append(ir.node("Cast", [wide], {"to": _HALF.value}, outputs=[narrow]))
    graph.outputs[position] = narrow


def cast_before_transposing(model: ir.Model) -> None:
    """Exchange every Transpose and the Cast after it, in place: the values are the same.

    MatmulTransposeFusion of onnxruntime 1.32 causes a segmentation fault when it does this itself, with a Transpose
    that does not exchange the last two axes (docs/lab/findings.md, "Exporting recurrent modules").
    """
    for graph in model.graphs():
        for cast in [node for node in graph if node.op_type == "Cast"]:
            transposed, result = cast.inputs[0], cast.outputs[0]
            transpose = transposed.producer() if transposed is not None else None
            if transposed is None or transpose is None or transpose.op_type != "Transpose":
                continue
            source = transpose.inputs[0]
            assert source is not None  # noqa: S101 - Transpose has one input
            early = ir.Value(name=f"{result.name}/cast", type=result.type, shape=source.shape)
            late = ir.Value(name=result.name, type=result.type, shape=result.shape)
            graph.insert_before(
                cast,
                [
                    ir.node("Cast", [source], dict(cast.attributes), outputs=[early]),
                    ir.node("Transpose", [early], dict(transpose.attributes), outputs=[late]),
                ],
            )
            result.replace_all_uses_with(late, replace_graph_outputs=True)
            graph.remove(cast, safe=True)
            if not transposed.uses() and not transposed.is_graph_output() and transpose.graph is graph:
                graph.remove(transpose, safe=True)
