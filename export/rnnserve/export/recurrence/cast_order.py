"""Casting before transposing: onnxruntime's optimizer ends the process on Transpose, Cast, MatMul in this order."""

import onnx_ir as ir

__all__ = ["cast_before_transposing"]


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
