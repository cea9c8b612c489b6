"""Refusing operators of a captured program whose results no translation gives in every case."""

from collections.abc import Callable

import torch
from torch import fx

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.source_lines import line_of

__all__ = ["refuse_operators"]

_ATEN = torch.ops.aten


def refuse_operators(program: torch.export.ExportedProgram) -> None:
    """Refuse what would be right for the values of a sample only.

    Raises:
        UnsupportedModule: If the program holds such an operator. The message names it and its line, and says what to
            write instead.
    """
    for part in program.graph_module.modules():
        if isinstance(part, fx.GraphModule):
            for node in part.graph.nodes:
                _refuse_complex(node)
    for node in program.graph.nodes:
        _refuse_factorisation(node)
        check = _CHECKS.get(node.target)
        why = "" if check is None else check(node)
        if why:
            raise UnsupportedModule(f"{node.target}{line_of(node)} cannot be exported right: {why}")


_TRANSFORMS = {
    *("fft_rfft", "fft_irfft", "fft_fft", "fft_ifft", "fft_rfft2", "fft_irfft2", "fft_hfft", "fft_ihfft"),
    *("_fft_r2c", "_fft_c2r", "_fft_c2c", "fft_fft2", "fft_ifft2", "stft"),
}
_READERS = {"abs", "real", "imag", "view_as_real"}


def _refuse_complex(node: fx.Node) -> None:
    """Refuse complex numbers, except between Fourier transforms and what reads a spectrum: torch.onnx has these."""
    name = str(getattr(node.target, "_opname", node.target))
    sources = [str(getattr(each.target, "_opname", "")) for each in node.all_input_nodes if _is_complex(each)]
    if node.op == "placeholder" or name == "_assert_tensor_metadata" or not (sources or _is_complex(node)):
        return
    if node.op == "output":
        given = next(each for each in node.all_input_nodes if _is_complex(each))
        raise UnsupportedModule(f"the module gives complex numbers{line_of(given)}. Return torch.view_as_real of them")
    known = {*_TRANSFORMS, "view_as_complex"} if name in _TRANSFORMS else _TRANSFORMS
    if name in {*_TRANSFORMS, *_READERS, "view_as_complex"} and known.issuperset(sources):
        return
    what = {"_symbolic_multi_out": "a loop over steps"}.get(name, name.strip("_"))
    raise UnsupportedModule(
        f"{what}{line_of(node)} computes with complex numbers, and ONNX has none that onnxruntime computes "
        "with. Write it as real and imaginary parts, two tensors for one: torch.view_as_real(z) once, in __init__, for "
        "parameters and buffers. A product is (a * c - b * d, a * d + b * c), and exp(a + bi) is (a.exp() * b.cos(), "
        "a.exp() * b.sin()). Fourier transforms may stay: torch.view_as_real(torch.fft.rfft(x)) gives the parts of a "
        "spectrum, and torch.fft.irfft(torch.view_as_complex(parts)) goes back."
    )


def _is_complex(node: fx.Node) -> bool:
    values = node.meta.get("val")
    some = values if isinstance(values, list | tuple) else [values]
    return any(isinstance(each, torch.Tensor) and each.is_complex() for each in some)


_SOLVERS = {
    *("inverse", "linalg_inv", "linalg_inv_ex", "linalg_tensorinv", "linalg_pinv", "pinverse"),
    *("linalg_solve", "linalg_solve_ex", "linalg_solve_triangular", "linalg_tensorsolve", "triangular_solve"),
    *("cholesky", "linalg_cholesky", "linalg_cholesky_ex", "cholesky_inverse", "cholesky_solve"),
    *("logdet", "slogdet", "linalg_slogdet"),
}


def _refuse_factorisation(node: fx.Node) -> None:
    """Refuse what factors matrices: ONNX has determinants, and nothing else of this kind."""
    name = str(getattr(node.target, "_opname", ""))
    if name in ("matrix_power", "linalg_matrix_power"):
        power = node.args[1] if len(node.args) > 1 else node.kwargs["n"]
        if not isinstance(power, int) or power >= 0:
            return
    elif name not in _SOLVERS:
        return
    what = name.removeprefix("linalg_").removesuffix("_ex")
    raise UnsupportedModule(
        f"{what}{line_of(node)} factors a matrix, which no operator of ONNX does. If the matrix does not depend on the "
        "inputs, compute the result once, in __init__, and keep it as a buffer. Else compute it outside of the module "
        "and make it an input, or write a formula with torch.det, which is exported."
    )


def _topk(node: fx.Node) -> str:
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


def _adaptive_max_pool(node: fx.Node) -> str:
    if not any(user.args[1] == 1 and user.users for user in node.users):
        return ""
    return "its indices have no form in ONNX. Use the values alone, without return_indices=True."


def _avg_pool(node: fx.Node) -> str:
    names = ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
    if {**dict(zip(names, node.args, strict=False)), **node.kwargs}.get("divisor_override") is None:
        return ""
    return (
        "ONNX has no divisor_override, and torch leaves it out. Leave it out, too, and multiply the result by the "
        "number of values in a window over the divisor."
    )


def _rank(node: fx.Node) -> int:
    source = node.args[0]
    return source.meta["val"].dim() if isinstance(source, fx.Node) else 0


def _sort(node: fx.Node) -> str:
    """Refuse the order of equal values, but for vectors: rows sorted by length, whose order a module undoes."""
    pair = node.target is _ATEN.sort.default  # argsort gives the indices alone
    indices = any(user.args[1] == 1 and user.users for user in node.users) if pair else True
    if not indices or _rank(node) == 1:
        return ""
    return (
        "the order of equal values is left open by PyTorch, and onnxruntime has another one for rows of more than 16 "
        "values. Write torch.sort(x, stable=True) or x.argsort(stable=True)."
    )


def _median(node: fx.Node) -> str:
    """Refuse the place of a median, or of the k-th smallest, unless only its value is used."""
    if not any(user.args[1] == 1 and user.users for user in node.users):
        return ""
    return (
        "which of equal values' indices it gives is left open by PyTorch. Its values are exported. For an index take "
        "torch.sort(x, dim, stable=True).indices, and of it the k-th; the median is the one at (size - 1) // 2."
    )


def _mode(_: fx.Node) -> str:
    return (
        "ONNX has no operator that finds the most frequent value. Of integers below n, count them: "
        "torch.nn.functional.one_hot(x, n).sum(1).argmax(-1), the smallest of equally frequent ones, as mode gives."
    )


def _scatter_reduce(node: fx.Node) -> str:
    named = {**dict(zip(("x", "dim", "index", "src", "reduce"), node.args, strict=False)), **node.kwargs}
    if named.get("reduce") != "mean":
        return ""
    return (
        "ONNX has no mean there, and torch writes a sum. Use scatter_add for the sums, scatter_add of ones for the "
        "counts, and divide."
    )


def _unique(node: fx.Node) -> str:
    source = node.args[0]
    if not isinstance(source, fx.Node) or not source.meta["val"].is_floating_point():
        return ""
    return "of floats with nan onnxruntime gives others than PyTorch. Make integers of them first, x.long()."


_CHECKS: dict[object, Callable[[fx.Node], str]] = {
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
