"""What each operator on complex numbers is in reals."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from rnnserve.export.recurrence.complex_numbers.pairs import Builder, Pair, value_of

__all__ = ["RULES", "TRANSFORMS", "real_dtype"]

aten = torch.ops.aten

Parts = Callable[[Any], Pair]
"""Gives an argument as a pair."""

Rule = Callable[[fx.Node, Builder, Parts], Pair | fx.Node | None]
"""Gives a node's result in reals: a pair, a real node, or None where nothing is left of it."""

RULES: dict[str, Rule] = {}

_BY_PARTS = {
    *("view", "reshape", "_unsafe_view", "permute", "transpose", "t", "mT", "movedim", "unsqueeze"),
    *("squeeze", "expand", "slice", "select", "flip", "clone", "alias", "contiguous", "detach"),
    *("detach_", "index_select", "gather", "roll", "repeat", "repeat_interleave", "sum", "mean", "cumsum"),
    *("unbind", "split", "split_with_sizes", "chunk", "neg", "lift_fresh_copy", "diagonal", "cat", "stack"),
    *("concat", "swapaxes", "narrow", "flatten", "unflatten", "tril", "triu", "index", "broadcast_to"),
    *("expand_as", "view_as", "reshape_as", "constant_pad_nd", "zeros_like", "ones_like", "empty_like", "diff"),
    *("where", "masked_fill", "getitem"),
}
"""Operators that work on each part alone, and on real numbers beside complex ones as on complex ones."""

_BILINEAR = ["mul", "multiply", "matmul", "mm", "bmm", "einsum", "outer", "dot"]
_FILLS = {"where": (1, 2), "masked_fill": (2,), "constant_pad_nd": (2,)}
"""Positions of numbers that are values: the imaginary part of a real one is 0."""

TRANSFORMS = {
    *("fft_rfft", "fft_irfft", "fft_fft", "fft_ifft", "fft_rfft2", "fft_irfft2", "fft_hfft", "fft_ihfft"),
    *("_fft_r2c", "_fft_c2r", "_fft_c2c", "fft_fft2", "fft_ifft2", "stft"),
}
"""Operators that stay as they are, with complex numbers made for them."""

_REALS = {torch.complex64: torch.float32, torch.complex128: torch.float64}


def real_dtype(dtype: Any) -> Any:  # noqa: ANN401 - a dtype, or anything else
    """Give the type of a complex type's parts; others stay."""
    return _REALS.get(dtype, dtype)


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Enter a rule under the names of its operators."""

    def enter(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return enter


@rule(*_BY_PARTS)
def _by_parts(node: fx.Node, build: Builder, parts: Parts) -> Pair:
    name = node.target.__name__ if callable(node.target) and not hasattr(node.target, "_opname") else _name(node)
    kwargs = {key: real_dtype(value) for key, value in node.kwargs.items()}

    def part(at: int, values: Any, *, imaginary: bool) -> Any:  # noqa: ANN401 - any nest of arguments
        if isinstance(values, list | tuple):
            return type(values)(part(-1, each, imaginary=imaginary) for each in values)
        if not isinstance(values, fx.Node) and at not in _FILLS.get(name, ()):
            return values
        pair = parts(values)
        if not imaginary:
            return pair.re
        if pair.im is None and (_is_floating(values) or not isinstance(values, fx.Node)):
            return build.zeros(pair.re)
        return pair.re if pair.im is None else pair.im

    re, im = ([part(at, each, imaginary=imaginary) for at, each in enumerate(node.args)] for imaginary in (False, True))
    made = build(node.target, *re, **kwargs)
    return Pair(made, build.zeros(made) if name == "ones_like" else build(node.target, *im, **kwargs))


@rule("pad")
def _pad(node: fx.Node, build: Builder, parts: Parts) -> Pair | None:
    given = (*node.args[2:], *("constant", None)[len(node.args) - 2 :])
    mode, value = given[0], given[1]
    if mode != "constant":
        return None
    pair, fill = parts(node.args[0]), parts(value or 0.0)
    pads = node.args[1]
    re = build(aten.constant_pad_nd.default, pair.re, pads, fill.re)
    return Pair(re, build(aten.constant_pad_nd.default, pair.im, pads, fill.im or 0.0))


def _name(node: fx.Node) -> str:
    return str(getattr(node.target, "_opname", ""))


def _is_floating(node: Any) -> bool:  # noqa: ANN401 - a node
    value = value_of(node)
    return isinstance(value, Tensor) and value.is_floating_point()


@rule("add", "sub", "rsub", "subtract")
def _sum(node: fx.Node, build: Builder, parts: Parts) -> Pair:
    name = _name(node)
    one, other = parts(node.args[0]), parts(node.args[1])
    if name == "rsub":
        one, other = other, one
    alpha = node.kwargs.get("alpha", 1)
    if alpha != 1:
        other = Pair(build.mul(other.re, alpha), None if other.im is None else build.mul(other.im, alpha))
    combine = build.add if name == "add" else build.sub
    ones = build.zeros(one.re) if one.im is None else one.im
    others = build.zeros(other.re) if other.im is None else other.im
    return Pair(combine(one.re, other.re), combine(ones, others))


@rule(*_BILINEAR)
def _product(node: fx.Node, build: Builder, parts: Parts) -> Pair | None:
    equation = node.args[:1] if isinstance(node.args[0], str) else ()
    operands = node.args[1] if equation else node.args[:2]
    if not isinstance(operands, Sequence) or len(operands) != 2:
        return None
    one, other = (parts(each) for each in operands)

    def times(first: Any, second: Any) -> Any:  # noqa: ANN401 - nodes or numbers
        if equation:
            return build(node.target, *equation, [first, second])
        return build.mul(first, second) if node.target in _PRODUCTS else build(node.target, first, second)

    re = times(one.re, other.re)
    if one.im is None:
        return Pair(re, times(one.re, other.im))
    if other.im is None:
        return Pair(re, times(one.im, other.re))
    crossed = build.add(times(one.re, other.im), times(one.im, other.re))
    return Pair(build.sub(re, times(one.im, other.im)), crossed)


_PRODUCTS = (aten.mul.Tensor, aten.mul.Scalar, aten.multiply.Tensor)


def _quotient(build: Builder, one: Pair, other: Pair) -> Pair:
    """Divide by Smith's formula, whose squares do not overflow."""
    if other.im is None:
        return Pair(*(build(aten.div.Tensor, part, other.re) for part in (one.re, one.im)))
    size = build(aten.maximum.default, *(build(aten.abs.default, part) for part in (other.re, other.im)))
    re, im = (build(aten.div.Tensor, part, size) for part in (other.re, other.im))
    below = build.add(build.mul(other.re, re), build.mul(other.im, im))
    ones = 0.0 if one.im is None else one.im
    over = build.add(build.mul(one.re, re), build.mul(ones, im))
    across = build.sub(build.mul(ones, re), build.mul(one.re, im))
    return Pair(build(aten.div.Tensor, over, below), build(aten.div.Tensor, across, below))


@rule("div", "divide", "true_divide")
def _divide(node: fx.Node, build: Builder, parts: Parts) -> Pair:
    one, other = parts(node.args[0]), parts(node.args[1])
    if not isinstance(other.re, fx.Node) and other.im is not None:  # a complex number
        inverse = 1 / complex(other.re, other.im)
        other = Pair(inverse.real, inverse.imag)
        ones = build.zeros(one.re) if one.im is None else one.im
        re = build.sub(build.mul(one.re, other.re), build.mul(ones, other.im))
        return Pair(re, build.add(build.mul(one.re, other.im), build.mul(ones, other.re)))
    return _quotient(build, one, other)


@rule("reciprocal")
def _reciprocal(node: fx.Node, build: Builder, parts: Parts) -> Pair:
    return _quotient(build, Pair(1.0), parts(node.args[0]))


@rule("exp")
def _exp(node: fx.Node, build: Builder, parts: Parts) -> Pair:
    pair = parts(node.args[0])
    return build.turned(build(aten.exp.default, pair.re), pair.im)


@rule("log")
def _log(node: fx.Node, build: Builder, parts: Parts) -> Pair:
    pair = parts(node.args[0])
    return Pair(build(aten.log.default, build.modulus(pair)), build(aten.atan2.default, pair.im, pair.re))


@rule("pow")
def _pow(node: fx.Node, build: Builder, parts: Parts) -> Pair | None:
    base, exponent = parts(node.args[0]), parts(node.args[1])
    if base.im is None or exponent.im is not None:
        return None
    if exponent.re == 2:
        square = build.sub(build.mul(base.re, base.re), build.mul(base.im, base.im))
        return Pair(square, build.mul(build.mul(base.re, base.im), 2.0))
    power = aten.pow.Tensor_Tensor if isinstance(exponent.re, fx.Node) else aten.pow.Tensor_Scalar
    size = build(power, build.modulus(base), exponent.re)
    return build.turned(size, build.mul(build(aten.atan2.default, base.im, base.re), exponent.re))


@rule("abs")
def _abs(node: fx.Node, build: Builder, parts: Parts) -> fx.Node:
    found: fx.Node = build.modulus(parts(node.args[0]))
    return found


@rule("angle")
def _angle(node: fx.Node, build: Builder, parts: Parts) -> fx.Node:
    pair = parts(node.args[0])
    return build(aten.atan2.default, pair.im, pair.re)


@rule("complex")
def _complex(node: fx.Node, build: Builder, _: Parts) -> Pair:
    re, im = node.args[0], node.args[1]
    if value_of(re).shape != value_of(im).shape:
        re, im = build.add(re, build.zeros(im)), build.add(im, build.zeros(re))
    return Pair(re, im)


@rule("polar")
def _polar(node: fx.Node, build: Builder, _: Parts) -> Pair:
    return build.turned(node.args[0], node.args[1])


@rule("view_as_complex")
def _view_as_complex(node: fx.Node, build: Builder, _: Parts) -> Pair:
    return Pair(*(build(aten.select.int, node.args[0], -1, part) for part in (0, 1)))


@rule("view_as_real")
def _view_as_real(node: fx.Node, build: Builder, parts: Parts) -> fx.Node:
    pair = parts(node.args[0])
    return build(aten.stack.default, [pair.re, pair.im], -1)


@rule("real")
def _real(node: fx.Node, build: Builder, parts: Parts) -> fx.Node:
    return build(aten.alias.default, parts(node.args[0]).re)


@rule("imag")
def _imag(node: fx.Node, build: Builder, parts: Parts) -> fx.Node:
    return build(aten.alias.default, parts(node.args[0]).im)


@rule("conj", "_conj", "conj_physical", "_conj_physical")
def _conj(node: fx.Node, build: Builder, parts: Parts) -> Pair:
    pair = parts(node.args[0])
    return Pair(pair.re, build.neg(pair.im))


@rule("resolve_conj", "resolve_neg")
def _same(node: fx.Node, _: Builder, parts: Parts) -> Pair:
    return parts(node.args[0])


@rule("to", "_to_copy", "type_as")
def _to(node: fx.Node, build: Builder, parts: Parts) -> Pair | fx.Node:
    pair, wanted = parts(node.args[0]), value_of(node).dtype
    re = build(aten.to.dtype, pair.re, real_dtype(wanted))
    if not wanted.is_complex:
        return re
    return Pair(re, build.zeros(re) if pair.im is None else build(aten.to.dtype, pair.im, real_dtype(wanted)))


@rule("zeros", "ones", "empty", "full", "new_zeros", "new_ones", "new_full", "full_like", "scalar_tensor")
def _made(node: fx.Node, build: Builder, parts: Parts) -> Pair:
    numbers = [each for each in node.args if isinstance(each, complex)]
    args = [parts(each).re if isinstance(each, fx.Node | complex) else each for each in node.args]
    kwargs = {**node.kwargs, "dtype": real_dtype(value_of(node).dtype)}
    re = build(node.target, *args, **kwargs)
    im = build.zeros(re)
    return Pair(re, build.add(im, numbers[0].imag) if numbers else im)
