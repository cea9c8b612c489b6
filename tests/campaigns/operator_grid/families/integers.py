"""Functions of int64, the extremes included. Divisors are constants, which is what export takes."""

import torch

from campaigns.operator_grid.operators import Family, Operator, named
from campaigns.operator_grid.values import INTEGERS, pairs

__all__ = ["INTEGER_PAIRS"]

_ROUNDED = "of numbers beyond 2 ** 53, whose distance wraps round"
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
        Operator("x // y", lambda x, y: x // (y.abs() // 2 + 1), refused="divides integers by an integer tensor"),
        Operator("x % y", lambda x, y: x % (y.abs() // 2 + 1), refused="divides integers by an integer tensor"),
        *(Operator(f"x ** {power}", lambda x, _, power=power: x**power) for power in (0, 1, 2, 3, 4, 5, 7, 64)),
        Operator("x ** y", lambda x, y: x**y, refused="raises integers to integer tensors"),
        Operator("2 ** y", lambda x, y: 2**y, refused="raises integers to integer tensors"),
        Operator("3 % y", lambda x, y: 3 % y, refused="divides integers by an integer tensor"),
        *(
            Operator(f"{name}(1)", lambda x, _, name=name: getattr(x, name)(1))
            for name in ("sum", "cumsum", "amax", "amin", "argmax", "argmin", "any", "all", "count_nonzero")
        ),
        Operator("sum(0)", lambda x, y: x.sum(0)),
        Operator("sum()", lambda x, y: x.sum()),
        Operator("prod(1, keepdim=True)", lambda x, y: x.prod(1, keepdim=True), refused="prod of integers"),
        Operator("sum(1, keepdim=True)", lambda x, y: x.sum(1, keepdim=True)),
        Operator("sort(stable=True)", lambda x, y: torch.sort(x, dim=1, stable=True)),
        Operator("where(x > y, x, y)", lambda x, y: torch.where(x > y, x, y)),
        Operator("isclose", torch.isclose, differs=_ROUNDED),
        Operator("mean(1)", lambda x, y: x.float().mean(1)),
        Operator("copysign", lambda x, y: torch.copysign(x, y), refused="cannot be exported exactly"),
        Operator("matmul", lambda x, y: x @ x.mT),
        Operator("rsub", lambda x, y: 3 - x),
        Operator("unique(x % 7)", lambda x, y: torch.unique(x % 7, return_inverse=True, return_counts=True)),
        Operator("bincount(x % 7)", lambda x, y: torch.bincount(x.flatten() % 7, minlength=9)),
        Operator("bitwise_left_shift", torch.bitwise_left_shift),
        Operator("bitwise_right_shift", torch.bitwise_right_shift),
        Operator("x << y", lambda x, y: x << y, refused="does not exist in ONNX"),
        Operator("x >> y", lambda x, y: x >> y, refused="does not exist in ONNX"),
        Operator("gcd", torch.gcd, refused="does not exist in ONNX"),
        Operator("isnan", lambda x, y: torch.isnan(x), refused="not valid ONNX"),
        Operator("cumprod(1)", lambda x, y: x.cumprod(1)),
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
