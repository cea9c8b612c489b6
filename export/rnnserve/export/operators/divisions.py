"""Remainders and rounded divisions: by the exact remainder, as PyTorch computes them.

torch's translations compute x - floor(x / y) * y, whose quotient is rounded before it is floored: 0.1 // 0.1 and
1e10 % 3 came out wrong by a whole divisor.

Integers are divided by constants and sizes only. onnxruntime divides them with the processor's instruction, which ends
the process where the divisor is 0, or where the lowest integer is divided by -1: one request would end a server.
"""

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.operators.graphs import Value, is_floating, is_negative, op

__all__ = ["TRANSLATIONS"]

_ATEN = torch.ops.aten
_OF_SIZES = frozenset({"Gather", "Shape", "Size", "Squeeze"})
"""The operators by which torch's exporter makes the size of an axis, which is never 0 where something is divided."""


def _of_integers(x: Value, y: Value, compute: Callable[[Value], Value], by_minus_one: Callable[[], Value]) -> Value:
    """Divide integers, if the divisor is a constant or a size."""
    constant = _constant(y)
    if constant:
        return by_minus_one() if constant == -1 else compute(op.CastLike(y, x))
    producer = y.producer() if isinstance(y, ir.Value) else None
    if producer is not None and producer.op_type in _OF_SIZES:
        return compute(op.CastLike(y, x))
    raise UnsupportedModule(
        "integers are divided by integers of a tensor, with //, % or torch.div. Where one is 0 eager "
        "raises an error, and onnxruntime ends the process that serves. Divide floats, x.float() / y, and use "
        "torch.floor; or divide by a number of Python"
    )


def _constant(y: Value) -> int | None:
    """Give the number that a divisor is, through the cast to the dividend's type; None where it is not one."""
    if not isinstance(y, ir.Value):
        return int(y)
    producer = y.producer()
    if producer is not None and producer.op_type == "Cast" and producer.inputs[0] is not None:
        return _constant(producer.inputs[0])
    tensor = ir.convenience.get_const_tensor(y)
    return int(tensor.numpy().item()) if tensor is not None and tensor.size == 1 else None


def _of_floats(x: Value, y: Value) -> tuple[Value, Value, bool]:
    """Give both of one type, and whether that is of floats; the dividend may be a number: 3.0 // y."""
    if isinstance(x, ir.Value):
        return x, op.CastLike(y, x) if is_floating(x) else y, is_floating(x)
    return op.CastLike(x, y), y, is_floating(y)


def _floor_of_integers(x: Value, y: Value) -> Value:
    """Compute the floor: onnxruntime's Div rounds to 0, and its Mod has the divisor's sign."""
    zero = op.CastLike(0, x)
    exact = op.Equal(op.Mod(x, y), zero)
    rounded_up = op.And(op.Not(exact), op.Xor(op.Less(x, zero), op.Less(y, zero)))
    return op.Sub(op.Div(x, y), op.CastLike(rounded_up, x))


def _remainder(x: Value, y: Value) -> Value:
    """Compute the remainder that has the divisor's sign; `c10::div_mod` of PyTorch is the same."""
    x, y, of_floats = _of_floats(x, y)
    if not of_floats:
        return _of_integers(x, y, lambda divisor: op.Mod(x, divisor), lambda: op.Sub(x, x))
    rest = op.Mod(x, y, fmod=1)
    differs = op.And(op.Not(op.Equal(rest, 0.0)), op.Xor(op.Less(rest, 0.0), op.Less(y, 0.0)))
    return op.Where(differs, op.Add(rest, y), rest)


def _floor_divide(x: Value, y: Value) -> Value:
    """Compute the floor of the exact quotient, as `c10::div_floor_floating` of PyTorch does, and in its order."""
    x, y, of_floats = _of_floats(x, y)
    if not of_floats:
        return _of_integers(x, y, lambda divisor: _floor_of_integers(x, divisor), lambda: op.Neg(x))
    rest = op.Mod(x, y, fmod=1)
    exact = op.Div(op.Sub(x, rest), y)
    differs = op.And(op.Not(op.Equal(rest, 0.0)), op.Xor(op.Less(rest, 0.0), op.Less(y, 0.0)))
    exact = op.Where(differs, op.Sub(exact, 1.0), exact)
    floored = op.Floor(exact)
    floored = op.Where(op.Greater(op.Sub(exact, floored), 0.5), op.Add(floored, 1.0), floored)
    quotient = op.Div(x, y)
    zero = op.Mul(op.Where(is_negative(quotient), op.CastLike(-1.0, x), op.CastLike(1.0, x)), 0.0)
    return op.Where(op.Equal(y, 0.0), quotient, op.Where(op.Equal(exact, 0.0), zero, floored))


def _truncated(x: Value, y: Value) -> Value:
    """Compute the quotient rounded to 0: onnxruntime's division of integers is that already."""
    x, y, of_floats = _of_floats(x, y)
    if not of_floats:
        return _of_integers(x, y, lambda divisor: op.Div(x, divisor), lambda: op.Neg(x))
    quotient = op.Div(x, y)
    return op.Where(op.Less(quotient, 0.0), op.Ceil(quotient), op.Floor(quotient))


def _fmod(x: Value, y: Value) -> Value:
    """Compute the remainder that has the dividend's sign; of integers without a detour over floats."""
    if is_floating(x):
        return op.Mod(x, op.CastLike(y, x), fmod=1)
    return _of_integers(x, y, lambda divisor: op.Sub(x, op.Mul(op.Div(x, divisor), divisor)), lambda: op.Sub(x, x))


def _div_mode(x: Value, y: Value, rounding_mode: str | None = None) -> Value:
    if rounding_mode == "floor":
        return _floor_divide(x, y)
    return _truncated(x, y) if rounding_mode == "trunc" else op.Div(x, op.CastLike(y, x))


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    _ATEN.remainder.Tensor: _remainder,
    _ATEN.remainder.Scalar: _remainder,
    _ATEN.remainder.Scalar_Tensor: _remainder,
    _ATEN.fmod.Tensor: _fmod,
    _ATEN.fmod.Scalar: _fmod,
    _ATEN.floor_divide.default: _floor_divide,
    _ATEN.div.Tensor_mode: _div_mode,
    _ATEN.div.Scalar_mode: _div_mode,
}
