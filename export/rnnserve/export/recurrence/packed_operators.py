"""Which operators of a captured program compute with each of many values by itself, those of its first axis.

The number of the values is a symbol that no other axis has (`packed_values`). So where an operator moves axes, takes a
part of them or sums over them, the sizes of its results tell whether the first axis is still that of the values.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sympy  # type: ignore[import-untyped]  # a dependency of torch
import torch
from torch import Tensor, fx

__all__ = ["ASSERTIONS", "CONSTANT", "COPIES", "DROPOUTS", "SIZED", "SIZES", "keeps_apart", "kind_of"]

_ATEN = torch.ops.aten

COPIES = {_ATEN.alias, _ATEN.clone, _ATEN.contiguous, _ATEN.detach, _ATEN.lift_fresh_copy, _ATEN.to}
"""Operators that give the same values, perhaps in another dtype."""

DROPOUTS = {_ATEN.alpha_dropout, _ATEN.dropout, _ATEN.feature_alpha_dropout, _ATEN.feature_dropout}
"""Operators that give their input itself in evaluation mode; others are refused elsewhere."""

_REPEATED = {_ATEN.expand, _ATEN.expand_as, _ATEN.repeat}
_ELEMENTWISE = {  # beside those that torch has tagged as such
    *COPIES,
    *DROPOUTS,
    *_REPEATED,
    *(_ATEN.copy_, _ATEN.fill_, _ATEN.zero_, _ATEN.masked_fill, _ATEN.masked_fill_, _ATEN.where),
    *(_ATEN.hardswish, _ATEN.hardswish_, _ATEN.log_sigmoid, _ATEN.floor_divide, _ATEN.rsub),
}

CONSTANT = {
    *(_ATEN.zeros, _ATEN.ones, _ATEN.full, _ATEN.empty),
    *(_ATEN.new_zeros, _ATEN.new_ones, _ATEN.new_full, _ATEN.new_empty),
    *(_ATEN.zeros_like, _ATEN.ones_like, _ATEN.full_like, _ATEN.empty_like),
}
"""Operators whose results have one value everywhere, and no value of a tensor."""

_DIVIDED = {_ATEN.view, _ATEN.reshape, _ATEN.unflatten}
_MOVED = {  # or joined, or summed: sizes tell along which axes
    *_DIVIDED,
    *(_ATEN.flatten, _ATEN.unsqueeze, _ATEN.squeeze.dim, _ATEN.squeeze.dims, _ATEN.transpose, _ATEN.permute),
    *(_ATEN.movedim, _ATEN.select, _ATEN.slice, _ATEN.narrow, _ATEN.split, _ATEN.split_with_sizes, _ATEN.chunk),
    *(_ATEN.unbind, _ATEN.cat, _ATEN.stack, _ATEN.glu, _ATEN.cosine_similarity),
    *(_ATEN.sum, _ATEN.mean, _ATEN.prod, _ATEN.var, _ATEN.std, _ATEN.norm, _ATEN.linalg_vector_norm),
    *(_ATEN.amax, _ATEN.amin, _ATEN.max, _ATEN.min, _ATEN.argmax, _ATEN.argmin, _ATEN.any, _ATEN.all),
    *(_ATEN.logsumexp, _ATEN.topk),
}
_ALONG = {  # axes that an argument names, and which keep their sizes
    *(_ATEN.softmax, _ATEN.log_softmax, _ATEN.cumsum, _ATEN.cumprod, _ATEN.cummax, _ATEN.cummin, _ATEN.logcumsumexp),
    *(_ATEN.flip, _ATEN.roll, _ATEN.sort, _ATEN.argsort, _ATEN.gather),
}
_OF_ONE: Mapping[Any, tuple[str, int]] = {  # the argument that alone has the values, and how many axes at least
    _ATEN.addmm: ("mat1", 2),
    _ATEN.batch_norm: ("input", 2),
    _ATEN.conv1d: ("input", 3),
    _ATEN.conv2d: ("input", 4),
    _ATEN.embedding: ("indices", 1),
    _ATEN.group_norm: ("input", 2),
    _ATEN.index_select: ("self", 2),
    _ATEN.layer_norm: ("input", 2),
    _ATEN.linear: ("input", 2),
    _ATEN.matmul: ("self", 2),
    _ATEN.mm: ("self", 2),
    _ATEN.one_hot: ("self", 1),
    _ATEN.prelu: ("self", 2),
    _ATEN.rms_norm: ("input", 2),
}
_AND: Mapping[Any, Callable[[dict[str, Any]], bool]] = {  # what else holds of the arguments
    _ATEN.addmm: lambda given: _rank(given["self"]) < 2,
    _ATEN.batch_norm: lambda given: not given["training"],
    _ATEN.matmul: lambda given: _rank(given["other"]) < 3,
    _ATEN.one_hot: lambda given: given["num_classes"] > 0,  # else the largest of all values decides
}

SIZED = {*_DIVIDED, *_REPEATED, *CONSTANT}
"""Operators with an argument that is a list of sizes."""

SIZES = {_ATEN.sym_size, _ATEN.sym_stride, _ATEN.sym_numel}
"""Operators that give sizes of a tensor."""

ASSERTIONS = {
    _ATEN._assert_scalar,  # noqa: SLF001 - as torch.export writes what holds of a size
    _ATEN._assert_tensor_metadata,  # noqa: SLF001 - the same, of a dtype
    _ATEN.sym_constrain_range_for_size,
}
"""Operators that give nothing."""


def kind_of(node: fx.Node) -> Any:  # noqa: ANN401 - an operator of torch, whatever its overload
    """Give the operator of a node; None if it is none of torch's."""
    return getattr(node.target, "overloadpacket", None)


def keeps_apart(node: fx.Node, holding: Sequence[fx.Node], count: Any) -> bool:  # noqa: ANN401 - an expression of sympy
    """Whether each result of an operator has the axis of the values first, and what is there is of one value alone.

    Args:
        node: A call of an operator.
        holding: Arguments that have the axis of the values first; no other has it.
        count: Number of the values.
    """
    value = node.meta.get("val")
    given = value if isinstance(value, tuple | list) else [value]
    results = [each for each in given if isinstance(each, Tensor) and _has_first(each, count)]
    if len(results) < len(given):
        return False
    if node.target is operator.getitem:
        return True
    kind, arguments = kind_of(node), _arguments(node)
    others = [each for each in node.all_input_nodes if each not in holding and isinstance(each.meta.get("val"), Tensor)]
    if torch.Tag.pointwise in getattr(node.target, "tags", ()) or kind in _ELEMENTWISE:
        rank = results[0].dim()
        return all(_rank(each) == rank for each in holding) and all(_is_broadcast(each, rank) for each in others)
    if kind is _ATEN.index:
        return _indexes(arguments["self"], arguments["indices"], holding)
    if kind in CONSTANT:
        return True
    if kind in (_ATEN.bmm, _ATEN.matmul) and not others:
        return all(_rank(each) == results[0].dim() > 2 for each in holding)
    if kind in _OF_ONE:
        name, axes = _OF_ONE[kind]
        is_alone = list(holding) == [arguments[name]] and _rank(holding[0]) >= axes
        return is_alone and (kind not in _AND or _AND[kind](arguments))
    if others:
        return False
    if kind in _ALONG:
        return 0 not in _axes(arguments, max(map(_rank, holding)))
    return kind in _MOVED or node.target in _MOVED


def _arguments(node: fx.Node) -> dict[str, Any]:
    schema = node.target._schema.arguments if isinstance(node.target, torch._ops.OpOverload) else ()  # noqa: SLF001
    defaults = {each.name: each.default_value for each in schema if each.has_default_value()}
    return defaults | {each.name: value for each, value in zip(schema, node.args, strict=False)} | dict(node.kwargs)


def _has_first(tensor: Tensor, count: Any) -> bool:  # noqa: ANN401 - as above
    """Whether the first axis has the number of values as its size, and no other."""
    sizes: list[Any] = list(tensor.shape)
    found = [size.node.expr if hasattr(size, "node") else sympy.Integer(size) for size in sizes]
    return found[:1] == [count] and not any(size.free_symbols & count.free_symbols for size in found[1:])


def _is_broadcast(node: fx.Node, rank: int) -> bool:
    """Whether a tensor has nothing along the first axis of a result with as many axes."""
    shape = node.meta["val"].shape
    return len(shape) < rank or (len(shape) == rank and isinstance(shape[0], int) and shape[0] == 1)


def _indexes(tensor: fx.Node, indices: Sequence[fx.Node | None], holding: Sequence[fx.Node]) -> bool:
    """Whether other axes are indexed, or another tensor by values."""
    given = [each for each in indices if each is not None]
    if tensor in holding:
        return indices[0] is None and not any(each in holding for each in given)
    return all(each in holding for each in given) and len(set(map(_rank, given))) == 1


def _axes(given: Mapping[str, Any], rank: int) -> set[int]:
    """Give the axes that an argument names; the first, too, where it names none."""
    named = given.get("dim", given.get("dims"))
    return {axis % rank for axis in ([named] if isinstance(named, int) else named or [0])}


def _rank(node: fx.Node) -> int:
    rank: int = node.meta["val"].dim()
    return rank
