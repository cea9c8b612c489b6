"""Refused operators, with advice on what to write instead: a table of messages, or of checks that return messages.

If a table entry has no check, the operator is also refused in the decomposed program, because its translation raises
the refusal. For some of these operators, torch's translation computes wrong values or ends the process. Others have no
translation, or are too rarely used to need a translation.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.source_lines import line_of
from rnnserve.export.torch_adapter import internal

__all__ = ["TRANSLATIONS", "refuse_operators"]

_ATEN = torch.ops.aten


def refuse_operators(program: torch.export.ExportedProgram) -> None:
    """Refuse operators that are correct only for the sample's values, or that can't be translated correctly."""
    for part in program.graph_module.modules():
        if isinstance(part, fx.GraphModule):
            for node in part.graph.nodes:
                _refuse_complex(node)
                _refuse_by_table(node)


def _refuse_by_table(node: fx.Node) -> None:
    entry = _REFUSED.get(node.target, "")
    why = entry if isinstance(entry, str) else entry(node)
    if why:
        raise UnsupportedModule(f"{node.target}{line_of(node)} cannot be exported exactly: {why}")


def _refuse_complex(node: fx.Node) -> None:
    """Refuse complex numbers, including those between Fourier transforms and operators that read a spectrum."""
    if node.op != "call_function" or not any(map(_is_complex, (node, *node.all_input_nodes))):
        return
    name = str(getattr(node.target, "_opname", node.target)).strip("_").removeprefix("fft_")
    raise UnsupportedModule(
        f"{'a loop over steps' if name == 'symbolic_multi_out' else name}{line_of(node)} computes with complex "
        "numbers, which ONNX lacks. Use two tensors, the real and the imaginary part. For parameters and buffers, "
        "call torch.view_as_real(z) once, in __init__. A product is (a * c - b * d, a * d + b * c), and exp(a + bi) "
        "is (a.exp() * b.cos(), a.exp() * b.sin()). A Fourier transform of n values is two products with matrices "
        "in buffers, torch.cos(k * t * 2 * math.pi / n) and -torch.sin(…). Or compute spectra outside the module "
        "and make them inputs."
    )


def _is_complex(node: fx.Node) -> bool:
    values = node.meta.get("val")
    some = values if isinstance(values, list | tuple) else [values]
    return any(isinstance(each, torch.Tensor) and each.is_complex() for each in some)


def _named(node: fx.Node, *names: str) -> Mapping[str, Any]:
    """Return the arguments of an operator by name."""
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def _uses_second(node: fx.Node) -> bool:
    """Whether anything uses the second result, which is usually the indices."""
    return any(user.args[1] == 1 and user.users for user in node.users)


def _value(node: fx.Node) -> torch.Tensor:
    """Return the shape and type of an operator's first argument, as a tensor without values."""
    source = node.args[0]
    return source.meta["val"] if isinstance(source, fx.Node) else torch.empty(())


def _topk(node: fx.Node) -> str:
    is_sorted = _named(node, "x", "k", "dim", "largest", "sorted").get("sorted", True)
    if is_sorted and not _uses_second(node):
        return ""
    what = "indices" if is_sorted else "results, with sorted=False,"
    return (
        f"for equal values, PyTorch does not define which {what} it returns, and onnxruntime returns others. Use "
        "torch.sort(x, stable=True, descending=True) and take the first k of each result. Then both return equal "
        "values in their original order. For k=1 use argmax."
    )


def _indices(words: str) -> Callable[[fx.Node], str]:
    """Make a check that refuses an operator if its indices are used."""
    return lambda node: words if _uses_second(node) else ""


_POOLED = _indices("ONNX cannot compute its indices. Use only the values, without return_indices=True.")


def _adaptive_pool(node: fx.Node) -> str:
    """Refuse windows of unequal sizes: a result must be 1, the axis's own size, or a divisor of a fixed size."""
    sizes = _named(node, "x", "output_size")["output_size"]
    result = node.meta["val"]
    pooled = result[0] if isinstance(result, list | tuple) else result
    count = len(sizes) if isinstance(sizes, list | tuple) else 1
    for before, after in zip(_value(node).shape[-count:], pooled.shape[-count:], strict=True):
        is_same = str(before) == str(after)
        divides = isinstance(before, int) and isinstance(after, int) and before % after == 0
        if not (is_same or divides or str(after) == "1"):
            return (
                f"windows of an axis of size {before} for {after} results have different sizes, which no ONNX "
                "operator supports. The same holds for interpolate(mode='area'). Pool to 1, to a divisor of a fixed "
                "size, or by a number of steps: avg_pool1d or max_pool1d with kernel_size and stride."
            )
    return ""


def _adaptive_max_pool(node: fx.Node) -> str:
    return _POOLED(node) or _adaptive_pool(node)


def _avg_pool(node: fx.Node) -> str:
    names = ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
    if _named(node, *names).get("divisor_override") is None:
        return ""
    return (
        "ONNX has no divisor_override, and torch's exporter ignores it. Leave it out, and multiply the result by the "
        "number of values in a window over the divisor."
    )


def _sort(node: fx.Node) -> str:
    """Refuse an order of equal values, except for vectors, which modules use to sort rows by length and to undo it."""
    pair = node.target is _ATEN.sort.default  # argsort returns only the indices
    if (pair and not _uses_second(node)) or _value(node).dim() == 1:
        return ""
    return (
        "PyTorch does not define the order of equal values, and onnxruntime uses another order for rows of more than "
        "16 values. Write torch.sort(x, stable=True) or x.argsort(stable=True)."
    )


def _scatter_reduce(node: fx.Node) -> str:
    if _named(node, "x", "dim", "index", "src", "reduce").get("reduce") != "mean":
        return ""
    return (
        "ONNX has no mean here, and torch's exporter writes a sum instead. Use scatter_add for the sums, scatter_add "
        "of ones for the counts, and divide."
    )


def _unique(node: fx.Node) -> str:
    if not _value(node).is_floating_point():
        return ""
    return (
        "for floats with NaN, onnxruntime returns other results than PyTorch. Convert them to integers first, x.long()."
    )


def _prod(node: fx.Node) -> str:
    if node.meta["val"].is_floating_point():
        return ""
    return (
        "onnxruntime computes the prod of integers in float64, and overflows give wrong results. Write "
        "x.double().prod(dim), exact below 2 ** 53; for flags x.all(dim); or the last step of x.cumprod(dim)"
    )


_BAGS = (
    "onnxruntime ends the process when it loads the loop that torch's exporter writes. Use nn.Embedding with the "
    "same weights: rows = embedding(ids) * (ids != padding).unsqueeze(-1), (batch, ids, features), and rows.sum(1), "
    "divided by (ids != padding).sum(1, keepdim=True).clamp(min=1) for a mean."
)
_CHOSEN = (
    "ONNX has no operator for it. Take the k-th value or index of x.sort(dim=dim, stable=True). The median is at "
    "(size - 1) // 2: x.sort(dim=1, stable=True).values[:, (x.size(1) - 1) // 2]."
)
_DIAGONALS = (
    "torch's exporter sums rows under a mask, so an inf or NaN outside the diagonal makes the result NaN. Use "
    "indices instead: i = torch.arange(n), and x[..., i, i]."
)
_RESIZED = (
    "onnxruntime rounds positions differently, so some results are the values of other steps. Use mode='nearest' or "
    "mode='linear'."
)

_REFUSED: Mapping[object, str | Callable[[fx.Node], str]] = {
    **dict.fromkeys(
        (
            _ATEN.adaptive_avg_pool1d.default,
            _ATEN.adaptive_avg_pool2d.default,
            internal("_adaptive_avg_pool2d"),
            _ATEN.adaptive_avg_pool3d.default,
        ),
        _adaptive_pool,
    ),
    **dict.fromkeys(
        (
            _ATEN.adaptive_max_pool1d.default,
            _ATEN.adaptive_max_pool2d.default,
            _ATEN.adaptive_max_pool3d.default,
        ),
        _adaptive_max_pool,
    ),
    _ATEN.argsort.default: _sort,
    _ATEN.avg_pool2d.default: _avg_pool,
    _ATEN.avg_pool3d.default: _avg_pool,
    _ATEN.copysign.Scalar: "write x.abs() * torch.where(y < 0, -1.0, 1.0), in which -0.0 counts as positive.",
    _ATEN.copysign.Tensor: "write x.abs() * torch.where(y < 0, -1.0, 1.0), in which -0.0 counts as positive.",
    _ATEN.diagonal.default: _DIAGONALS,
    _ATEN.diagonal_copy.default: _DIAGONALS,
    **dict.fromkeys(
        (
            _ATEN.embedding_bag.default,
            _ATEN.embedding_bag.padding_idx,
            internal("_embedding_bag"),
            internal("_embedding_bag_forward_only"),
        ),
        _BAGS,
    ),
    _ATEN.hardtanh_backward.default: "it belongs to training, and its export has other values at the bounds.",
    _ATEN.heaviside.default: (
        "torch's export of it returns 1 for NaN, but PyTorch returns 0. Write torch.where(x == 0, values, (x > "
        "0).to(x.dtype))."
    ),
    _ATEN.kthvalue.default: _CHOSEN,
    _ATEN.logaddexp2.default: (
        "torch's export of it overflows from 128 on. Write torch.logaddexp(x * math.log(2), y * math.log(2)) / "
        "math.log(2)."
    ),
    _ATEN.max_pool2d_with_indices.default: _POOLED,
    _ATEN.max_pool3d_with_indices.default: _POOLED,
    _ATEN.median.default: _CHOSEN,
    _ATEN.median.dim: _CHOSEN,
    _ATEN.mode.default: (
        "ONNX has no operator that finds the most frequent value. Count integers below n: "
        "torch.nn.functional.one_hot(x, n).sum(1).argmax(-1). Like mode, this returns the smallest of equally "
        "frequent values."
    ),
    _ATEN.nanmedian.default: _CHOSEN,
    _ATEN.nanmedian.dim: _CHOSEN,
    _ATEN.prod.default: _prod,
    _ATEN.prod.dim_int: _prod,
    _ATEN.scatter_reduce.two: _scatter_reduce,
    _ATEN.signbit.default: "write x < 0, in which -0.0 counts as positive.",
    torch.ops.prims.signbit.default: "write x < 0, in which -0.0 counts as positive.",
    _ATEN.sort.default: _sort,
    _ATEN.special_erfcx.default: (
        "its export is exp(x * x) * (1 - erf(x)), which is wrong from 3 on and NaN from 10 on. The same holds for "
        "log_ndtr. Compute it before the model. If an approximation is enough, use logsigmoid(1.702 * x)."
    ),
    _ATEN.topk.default: _topk,
    internal("_unique2"): _unique,
    _ATEN.unique_dim.default: _unique,
    _ATEN.unique_consecutive.default: _unique,
    **{
        getattr(getattr(_ATEN, f"{name}{space}"), form): _RESIZED
        for name, space in (("_upsample_nearest_exact", f"{axes}d") for axes in (1, 2, 3))
        for form in ("vec", "default")
    },
}
"""Advice by operator, or a check that returns the advice for wrong uses and an empty string for correct ones."""


def _refusal(operator: object, why: str) -> Callable[..., Any]:
    def refuse(*_: object, **__: object) -> None:
        raise UnsupportedModule(f"{operator} cannot be exported exactly: {why}")

    return refuse


TRANSLATIONS: dict[Any, Callable[..., Any]] = {
    operator: _refusal(operator, why) for operator, why in _REFUSED.items() if isinstance(why, str)
}
