"""Functions of int64, the extremes included; divisors are constants, which is what export takes."""

import torch

from support.operator_grid.operators import Family, Operator, named
from support.operator_grid.values import INTEGERS, pairs

__all__ = ["INTEGER_PAIRS"]

_SHIFTS = [("x << 2", lambda x, y: x << 2), ("x >> 2", lambda x, y: x >> 2)]

INTEGER_PAIRS = Family(
    "Two integers",
    pairs(INTEGERS, INTEGERS[INTEGERS != 0]),
    [
        *named(torch, "add sub mul div maximum minimum eq lt bitwise_and bitwise_or bitwise_xor logical_and"),
        *(Operator(f"x // {y}", lambda x, _, y=y: x // y) for y in (3, -3, 7)),
        *(Operator(f"x % {y}", lambda x, _, y=y: x % y) for y in (3, -3)),
        *(Operator(f"fmod(x, {y})", lambda x, _, y=y: torch.fmod(x, y)) for y in (7, -3)),
        Operator("div(x, -7, rounding_mode='trunc')", lambda x, y: torch.div(x, -7, rounding_mode="trunc")),
        Operator("div(x, 7, rounding_mode='floor')", lambda x, y: torch.div(x, 7, rounding_mode="floor")),
        Operator("x // x.size(0)", lambda x, y: x // x.size(0)),
        Operator("x // y", lambda x, y: x // (y.abs() // 2 + 1), refused="integers are divided by integers"),
        Operator("x % y", lambda x, y: x % (y.abs() // 2 + 1), refused="integers are divided by integers"),
        Operator("x ** 2", lambda x, y: x**2),
        Operator("x + 0.5", lambda x, y: x + 0.5),
        Operator("sqrt", lambda x, y: torch.sqrt(x)),
        *(Operator(name, lambda x, _, name=name: getattr(x, name)()) for name in ("neg", "abs", "sign", "bitwise_not")),
        *(Operator(name, lambda x, _, name=name: getattr(x, name)()) for name in ("float", "double", "int", "bool")),
        *(Operator(f"to({dtype})", lambda x, _, dtype=dtype: x.to(dtype)) for dtype in (torch.uint8, torch.int8)),
        Operator("half().float()", lambda x, y: x.half().float()),
        Operator("clamp(0, 10)", lambda x, y: x.clamp(0, 10)),
        Operator("clamp(min=3)", lambda x, y: x.clamp(min=3)),
        Operator("clamp(max=3)", lambda x, y: x.clamp(max=3)),
        *(Operator(name, compute) for name, compute in _SHIFTS),
    ],
)
