"""Casting before transposing: onnxruntime's optimizer ends the process on Transpose, Cast, MatMul in this order."""

import onnx_ir as ir

__all__ = ["cast_before_transposing"]


def cast_before_transposing(model: ir.Model) -> None:
    """Exchange every Transpose and the Cast after it, in place: the values are the same.

    MatmulTransposeFusion of onnxruntime 1.32 causes a segmentation fault when it does this itself, with a Transpose
    that does not exchange the last two axes (docs/findings.md, "Exporting recurrent modules").
    """
    for graph in model.graphs():
        for cast in [node for node in graph if node.op_type == "Cast"]:
            value = cast.inputs[0]
            transpose = value.producer() if value is not None else None
            if transpose is None or transpose.op_type != "Transpose":
                continue
            source, result = transpose.inputs[0], cast.outputs[0]
            assert source is not None  # noqa: S101 - Transpose has one input
            early = ir.Value(name=f"{result.name}/cast", type=result.type, shape=source.shape)
            graph.insert_before(cast, ir.node("Cast", [source], dict(cast.attributes), outputs=[early]))
            late = ir.node("Transpose", [early], dict(transpose.attributes), num_outputs=1)
            name = result.name
            graph.insert_before(cast, late)
            late.outputs[0].type, late.outputs[0].shape = result.type, result.shape
            result.replace_all_uses_with(late.outputs[0], replace_graph_outputs=True)
            graph.remove(cast, safe=True)
            late.outputs[0].name = name
            if not value.uses() and not value.is_graph_output():
                graph.remove(transpose, safe=True)
