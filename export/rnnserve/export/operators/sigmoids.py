"""Sigmoids whose small results matter: onnxruntime's Sigmoid is right within 7e-8, not to the last digits.

sigmoid(-15) is 3.6e-7 there, 3.1e-7 in fact, and from -18 on it is 0: as a gate, that is rounding. Under a logarithm or
a division it is not: log(sigmoid(-20)) is -inf. So sigmoids whose results reach such an operator become
1 / (1 + exp(-x)), which is right to the last digits, at three nodes more; all others stay one node.
"""

import numpy as np
import onnx_ir as ir

__all__ = ["sharpen_sigmoids"]

# Through these a small number stays a small number, or is among those that are added up.
_PASSES = frozenset(
    {
        *(
            "Add",
            "Cast",
            "Clip",
            "Concat",
            "CumSum",
            "Expand",
            "Gather",
            "Identity",
            "Max",
            "Mean",
            "Min",
            "Mul",
            "Neg",
        ),
        *("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Scan", "Slice", "Split"),
        *("Sqrt", "Squeeze", "Sub", "Sum", "Transpose", "Unsqueeze", "Where", "Abs"),
    }
)
_AMPLIFIES = frozenset({"Log", "Reciprocal", "Pow", "ReduceLogSum"})


def sharpen_sigmoids(model: ir.Model) -> None:
    """Replace, in place, the sigmoids that a logarithm, a division or a power uses, and those of x * sigmoid(x)."""
    for graph in list(model.graphs()):
        for node in [node for node in graph if node.op_type == "Sigmoid"]:
            if _is_amplified(node.outputs[0]) or _is_silu(node):
                _replace(graph, node)


def _is_silu(node: ir.Node) -> bool:
    """Whether the result only weighs its own input: its error of 7e-8 is multiplied by that."""
    uses = list(node.outputs[0].uses())
    return bool(uses) and all(user.op_type == "Mul" and node.inputs[0] in user.inputs for user, _ in uses)


def _is_amplified(value: ir.Value) -> bool:
    waiting, seen = [value], {value}
    while waiting:
        for user, position in waiting.pop().uses():
            if user.op_type in _AMPLIFIES or (user.op_type == "Div" and position == 1):
                return True
            if user.op_type in _PASSES or user.op_type == "Div":
                for output in user.outputs:
                    if output not in seen:
                        seen.add(output)
                        waiting.append(output)
    return False


def _replace(graph: ir.Graph, node: ir.Node) -> None:
    source, result = node.inputs[0], node.outputs[0]
    assert source is not None  # noqa: S101 - Sigmoid has one input
    dtype = result.dtype or source.dtype or ir.DataType.FLOAT
    one = ir.Value(name=f"{result.name}/one", type=ir.TensorType(dtype), shape=ir.Shape([]))
    negative, power, total = (
        ir.Value(name=f"{result.name}/{name}", type=result.type, shape=result.shape)
        for name in ("negative", "power", "total")
    )
    replaced = ir.Value(name=result.name, type=result.type, shape=result.shape)
    graph.insert_before(
        node,
        [
            ir.node("Constant", [], {"value": ir.tensor(np.array(1, dtype.numpy()), dtype=dtype)}, outputs=[one]),
            ir.node("Neg", [source], outputs=[negative]),
            ir.node("Exp", [negative], outputs=[power]),
            ir.node("Add", [power, one], outputs=[total]),
            ir.node("Div", [one, total], outputs=[replaced]),
        ],
    )
    result.replace_all_uses_with(replaced, replace_graph_outputs=True)
    graph.remove(node, safe=True)
