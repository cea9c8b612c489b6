"""Pairs of real values in the place of complex ones, and the nodes that compute with them."""

import dataclasses
from typing import Any

import torch
from torch import Tensor, fx

__all__ = ["Builder", "Pair", "is_complex", "value_of"]

aten = torch.ops.aten


@dataclasses.dataclass(frozen=True)
class Pair:
    """A value in reals.

    Attributes:
        re: Node or number of its real part.
        im: Node or number of its imaginary part; None where the value is real.
    """

    re: Any
    im: Any = None


def value_of(node: Any) -> Any:  # noqa: ANN401 - a node, or a number
    """Give the shape and type of a node's value, as a tensor without values; a number is itself."""
    return node.meta.get("val") if isinstance(node, fx.Node) else node


def is_complex(node: Any) -> bool:  # noqa: ANN401 - a node, a list of nodes, or a number
    """Whether a node gives complex numbers, or something is one."""
    value = value_of(node)
    if isinstance(value, list | tuple):
        return any(map(is_complex, value))
    return value.is_complex() if isinstance(value, Tensor) else isinstance(value, complex)


class Builder:
    """Adds nodes to a program before one of its own, each with its shape and type.

    Args:
        mode: Mode of the program's tensors without values.
    """

    def __init__(self, mode: Any) -> None:  # noqa: ANN401 - torch's FakeTensorMode
        self._mode = mode
        self._before: fx.Node | None = None

    def before(self, node: fx.Node) -> None:
        """Add what follows before a node, as a part of the same line of the user's code."""
        self._before = node

    def __call__(self, target: Any, *args: Any, **kwargs: Any) -> fx.Node:  # noqa: ANN401 - an operator and its arguments
        """Add a node."""
        at = self._before
        assert at is not None  # noqa: S101 - `before` was called
        with at.graph.inserting_before(at):
            node = at.graph.call_function(target, args, kwargs)
        node.meta = {key: value for key, value in at.meta.items() if key not in ("val", "tensor_meta")}
        values, named = torch.utils._pytree.tree_map(value_of, (args, kwargs), is_leaf=_is_node)  # noqa: SLF001
        with self._mode, torch.no_grad():
            node.meta["val"] = _padded(*values) if target is aten.constant_pad_nd.default else target(*values, **named)
        return node

    def add(self, one: Any, other: Any) -> Any:  # noqa: ANN401 - nodes or numbers
        """Add two reals."""
        if isinstance(one, fx.Node) or isinstance(other, fx.Node):
            first, second = (one, other) if isinstance(one, fx.Node) else (other, one)
            return self(aten.add.Tensor, first, second)
        return one + other

    def mul(self, one: Any, other: Any) -> Any:  # noqa: ANN401
        """Multiply two reals."""
        if isinstance(one, fx.Node) or isinstance(other, fx.Node):
            first, second = (one, other) if isinstance(one, fx.Node) else (other, one)
            return self(aten.mul.Tensor, first, second)
        return one * other

    def neg(self, one: Any) -> Any:  # noqa: ANN401
        """Negate a real."""
        return self(aten.neg.default, one) if isinstance(one, fx.Node) else -one

    def sub(self, one: Any, other: Any) -> Any:  # noqa: ANN401
        """Subtract two reals."""
        if isinstance(one, fx.Node):
            return self(aten.sub.Tensor, one, other)
        return self.add(self.neg(other), one)

    def zeros(self, like: Any) -> Any:  # noqa: ANN401
        """Give zeros of the shape of a real."""
        return self(aten.zeros_like.default, like) if isinstance(like, fx.Node) else 0.0

    def modulus(self, pair: Pair) -> Any:  # noqa: ANN401
        """Give the absolute value, without squares that overflow."""
        sizes = [self(aten.abs.default, part) for part in (pair.re, pair.im)]
        larger, smaller = self(aten.maximum.default, *sizes), self(aten.minimum.default, *sizes)
        is_zero = self(aten.eq.Scalar, larger, 0.0)
        ratio = self(aten.div.Tensor, smaller, self(aten.masked_fill.Scalar, larger, is_zero, 1.0))
        root = self(aten.sqrt.default, self(aten.add.Tensor, self(aten.mul.Tensor, ratio, ratio), 1.0))
        return self(aten.mul.Tensor, larger, root)

    def turned(self, size: Any, angle: Any) -> Pair:  # noqa: ANN401
        """Give the number of an absolute value and an angle."""
        cosine, sine = self(aten.cos.default, angle), self(aten.sin.default, angle)
        return Pair(self.mul(size, cosine), self.mul(size, sine))


def _padded(value: Tensor, pads: list[Any], fill: float = 0.0) -> Tensor:
    """Give what padding gives; torch's own would fix the sizes of the axes that have none."""
    del fill
    sizes = list(value.shape)
    for at, (before, after) in enumerate(zip(pads[::2], pads[1::2], strict=True)):
        sizes[len(sizes) - 1 - at] = sizes[len(sizes) - 1 - at] + before + after
    return value.new_empty(sizes)


def _is_node(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, fx.Node)
