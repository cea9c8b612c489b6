"""Choices between booleans, as masks are put together: onnxruntime has no kernel of Where for them."""

import onnx_ir as ir

from rnnserve.export.operators.nodes_before import NodesBefore

__all__ = ["choose_booleans"]


def choose_booleans(model: ir.Model) -> None:
    """Write Where(c, x, y) of booleans as (c and x) or (y and not c), in place."""
    for graph in list(model.graphs()):
        for node in [node for node in graph if node.op_type == "Where"]:
            condition, first, second = node.inputs
            result = node.outputs[0]
            if condition is None or first is None or second is None or result.dtype != ir.DataType.BOOL:
                continue
            maker = NodesBefore(graph, node, f"{result.name}/choice")
            parts = [maker.make("And", condition, first), maker.make("And", maker.make("Not", condition), second)]
            chosen = ir.Value(name=result.name, type=result.type, shape=result.shape)
            maker.add(ir.node("Or", parts, outputs=[chosen]))
            result.replace_all_uses_with(chosen, replace_graph_outputs=True)
            graph.remove(node, safe=True)
