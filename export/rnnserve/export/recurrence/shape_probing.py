"""Running a captured program without values at other sizes: each node has the shape that was captured for it.

Some operators take another path at other sizes, without a condition in the user's own code: tensor_split makes parts of
other lengths where a size does not divide, squeeze() drops an axis of 1. The results of the module need not show it.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import sympy  # type: ignore[import-untyped]  # a dependency of torch
import torch
from torch import Tensor

from rnnserve.export.source_lines import line_of

__all__ = ["first_other_shape"]

_SizeOf: TypeAlias = Callable[[sympy.Expr], int]
"""Gives the number that an expression of symbols is."""


def first_other_shape(program: torch.export.ExportedProgram, at: Mapping[sympy.Symbol, int]) -> str:
    """Name the first operator whose result has another shape at some sizes than was captured, and its line.

    Args:
        program: Captured.
        at: The size of each symbol.

    Returns:
        Words for a message; empty where all shapes are as captured, or the program does not run at these sizes.
    """
    size_of = functools.cache(lambda expression: int(expression.subs(at)))  # few sizes, and each many times
    for node in program.graph.nodes:
        if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):  # noqa: SLF001
            continue
        if node.target.namespace != "aten":
            continue
        captured = _shapes(node.meta.get("val"), size_of)
        found = _run(node, size_of)
        if found is not None and captured is not None and found != captured:
            return f"{node.target}{line_of(node)} gives {found} there, and {captured} by what was captured"
    return ""


def _run(node: torch.fx.Node, size_of: _SizeOf) -> list[tuple[int, ...]] | None:
    """Give the shapes of a node's result, of arguments with the captured shapes; None where that is not known."""
    try:
        arguments, named = torch.fx.node.map_arg((node.args, node.kwargs), lambda argument: _value(argument, size_of))
        result = node.target(*arguments, **named)  # type: ignore[operator]  # an operator, as the caller has seen
    except Exception:  # noqa: BLE001 - an operator without a meta kernel, or one that refuses the size
        return None
    return _shapes(result, int)


def _value(node: torch.fx.Node, size_of: _SizeOf) -> Any:  # noqa: ANN401 - a tensor, a number, a list
    return torch.utils._pytree.tree_map(lambda leaf: _concrete(leaf, size_of), node.meta["val"])  # noqa: SLF001


def _concrete(leaf: Any, size_of: _SizeOf) -> Any:  # noqa: ANN401 - as it comes
    if isinstance(leaf, Tensor):
        return torch.empty(_sizes(leaf.shape, size_of), dtype=leaf.dtype, device="meta")
    return _size(leaf, size_of) if isinstance(leaf, torch.SymInt) else leaf


def _shapes(value: Any, size_of: _SizeOf) -> list[tuple[int, ...]] | None:  # noqa: ANN401 - of any kind
    tensors = [leaf for leaf in torch.utils._pytree.tree_leaves(value) if isinstance(leaf, Tensor)]  # noqa: SLF001
    try:
        return [_sizes(tensor.shape, size_of) for tensor in tensors] or None
    except TypeError:  # a size that depends on values
        return None


def _sizes(shape: Sequence[Any], size_of: _SizeOf) -> tuple[int, ...]:
    return tuple(_size(size, size_of) for size in shape)


def _size(size: Any, size_of: _SizeOf) -> int:  # noqa: ANN401 - an int, or torch's SymInt
    return size if isinstance(size, int) else size_of(size.node.expr)
