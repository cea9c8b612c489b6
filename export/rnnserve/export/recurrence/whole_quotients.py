"""Quotients of sizes that are rounded: `math.ceil(n / 4)` computes with integers, and is right for any size.

torch.onnx divides sizes as float32, and rounds a size that is whole as if it were a float: ONNX has no kernel for that.
"""

import math
import operator
from typing import Any

import torch
from torch import fx

__all__ = ["divide_sizes_exactly"]

_ROUNDED = {math.ceil, math.floor, math.trunc}


def divide_sizes_exactly(program: torch.export.ExportedProgram) -> None:
    """Write rounded quotients of integers as divisions of integers, and leave integers that are rounded as they are."""
    graph = program.graph
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target not in _ROUNDED:
            continue
        (given,) = node.args
        with graph.inserting_before(node):
            whole = _whole(graph, node.target, given)
        if whole is not None:
            node.replace_all_uses_with(whole)
            graph.erase_node(node)
    graph.eliminate_dead_code()
    program.graph_module.recompile()


def _whole(graph: fx.Graph, rounded: Any, given: Any) -> Any:  # noqa: ANN401 - a function of Python, nodes and numbers
    """Give the rounded value of a node computed with integers; None where it is no quotient of them."""
    if _is_integer(given):
        return given
    if not isinstance(given, fx.Node) or given.target is not operator.truediv:
        return None
    dividend, divisor = given.args
    value = _value(dividend)
    if not _is_integer(dividend) or not isinstance(divisor, int) or divisor < 1:
        return None
    if rounded is math.trunc:  # of what is negative, too: the quotient is rounded to 0
        return None
    if rounded is math.floor:
        return _added(graph, operator.floordiv, (dividend, divisor), value // divisor)
    raised = _added(graph, operator.add, (dividend, divisor - 1), value + (divisor - 1))
    return _added(graph, operator.floordiv, (raised, divisor), (value + (divisor - 1)) // divisor)


def _added(graph: fx.Graph, function: Any, args: tuple[Any, ...], value: Any) -> fx.Node:  # noqa: ANN401
    node = graph.call_function(function, args)
    node.meta["val"] = value
    return node


def _value(node: Any) -> Any:  # noqa: ANN401 - a node, or a number
    return node.meta.get("val") if isinstance(node, fx.Node) else node


def _is_integer(node: Any) -> bool:  # noqa: ANN401 - a node, or a number
    value = _value(node)
    return isinstance(value, int | torch.SymInt) and not isinstance(value, bool)
