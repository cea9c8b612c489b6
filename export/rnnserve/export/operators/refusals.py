"""Refusing operators of a captured program whose results no translation gives in every case."""

from collections.abc import Callable

import torch

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.source_lines import line_of

__all__ = ["refuse_operators"]

_ATEN = torch.ops.aten


def refuse_operators(program: torch.export.ExportedProgram) -> None:
    """Refuse what would be right for the values of a sample only.

    Raises:
        UnsupportedModule: If the program holds such an operator; the message names it and its line, and says what to
            write instead.
    """
    for node in program.graph.nodes:
        check = _CHECKS.get(node.target)
        why = "" if check is None else check(node)
        if why:
            raise UnsupportedModule(f"{node.target}{line_of(node)} cannot be exported right: {why}")


def _topk(node: torch.fx.Node) -> str:
    values_only = not any(user.args[1] == 1 and user.users for user in node.users)
    is_sorted = {**dict(zip(("x", "k", "dim", "largest", "sorted"), node.args, strict=False)), **node.kwargs}.get(
        "sorted", True
    )
    if values_only and is_sorted:
        return ""
    what = "indices" if is_sorted else "results, with sorted=False,"
    return (
        f"which {what} it gives where values are equal is left open by PyTorch, and onnxruntime gives others. Use "
        "torch.sort(x, stable=True, descending=True) and take the first k of each result; the first of equal values "
        "comes first then, here and there. For k=1 use argmax."
    )


def _adaptive_max_pool(node: torch.fx.Node) -> str:
    if not any(user.args[1] == 1 and user.users for user in node.users):
        return ""
    return "its indices have no form in ONNX. Use the values alone, without return_indices=True."


def _avg_pool(node: torch.fx.Node) -> str:
    names = ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
    if {**dict(zip(names, node.args, strict=False)), **node.kwargs}.get("divisor_override") is None:
        return ""
    return (
        "ONNX has no divisor_override, and torch leaves it out. Leave it out, too, and multiply the result by the "
        "number of values in a window over the divisor."
    )


def _rank(node: torch.fx.Node) -> int:
    source = node.args[0]
    return source.meta["val"].dim() if isinstance(source, torch.fx.Node) else 0


def _sort(node: torch.fx.Node) -> str:
    """Refuse the order of equal values, but for vectors: rows sorted by length, whose order a module undoes."""
    pair = node.target is _ATEN.sort.default  # argsort gives the indices alone
    indices = any(user.args[1] == 1 and user.users for user in node.users) if pair else True
    if not indices or _rank(node) == 1:
        return ""
    return (
        "the order of equal values is left open by PyTorch, and onnxruntime has another one for rows of more than 16 "
        "values. Write torch.sort(x, stable=True) or x.argsort(stable=True)."
    )


def _median(node: torch.fx.Node) -> str:
    """Refuse the place of a median, or of the k-th smallest, unless only its value is used."""
    if not any(user.args[1] == 1 and user.users for user in node.users):
        return ""
    return (
        "which of equal values' indices it gives is left open by PyTorch. Its values are exported. For an index take "
        "torch.sort(x, dim, stable=True).indices, and of it the k-th; the median is the one at (size - 1) // 2."
    )


def _mode(_: torch.fx.Node) -> str:
    return (
        "ONNX has no operator that finds the most frequent value. Of integers below n, count them: "
        "torch.nn.functional.one_hot(x, n).sum(1).argmax(-1), the smallest of equally frequent ones, as mode gives."
    )


def _scatter_reduce(node: torch.fx.Node) -> str:
    named = {**dict(zip(("x", "dim", "index", "src", "reduce"), node.args, strict=False)), **node.kwargs}
    if named.get("reduce") != "mean":
        return ""
    return (
        "ONNX has no mean there, and torch writes a sum. Use scatter_add for the sums, scatter_add of ones for the "
        "counts, and divide."
    )


def _unique(node: torch.fx.Node) -> str:
    source = node.args[0]
    if not isinstance(source, torch.fx.Node) or not source.meta["val"].is_floating_point():
        return ""
    return "of floats with nan onnxruntime gives others than PyTorch. Make integers of them first, x.long()."


_CHECKS: dict[object, Callable[[torch.fx.Node], str]] = {
    _ATEN.adaptive_max_pool1d.default: _adaptive_max_pool,
    _ATEN.adaptive_max_pool2d.default: _adaptive_max_pool,
    _ATEN.adaptive_max_pool3d.default: _adaptive_max_pool,
    _ATEN.argsort.default: _sort,
    _ATEN.avg_pool2d.default: _avg_pool,
    _ATEN.avg_pool3d.default: _avg_pool,
    _ATEN.kthvalue.default: _median,
    _ATEN.median.dim: _median,
    _ATEN.mode.default: _mode,
    _ATEN.nanmedian.dim: _median,
    _ATEN.sort.default: _sort,
    _ATEN.topk.default: _topk,
    _ATEN.scatter_reduce.two: _scatter_reduce,
    _ATEN._unique2.default: _unique,  # noqa: SLF001 - what torch.unique is in a program
    _ATEN.unique_dim.default: _unique,
    _ATEN.unique_consecutive.default: _unique,
}
