"""Functions of int64, including its extremes, of integers of 8, 16 and 32 bits, and of booleans.

Divisors are constants, because export accepts only those. Sums overflow, and onnxruntime has no kernel for some types.
"""

import torch
import torch.nn.functional as F

from campaigns.operator_grid.operators import Family, Operator, methods, named
from campaigns.operator_grid.values import INTEGERS, ROWS, pairs

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
        *methods("sum cumsum amax amin argmax argmin any all count_nonzero cumprod", 1),
        *methods("sum", 0),
        *methods("sum neg abs sign bitwise_not float double int bool"),
        Operator("prod(1, keepdim=True)", lambda x, y: x.prod(1, keepdim=True), refused="prod of integers"),
        Operator("sum(1, keepdim=True)", lambda x, y: x.sum(1, keepdim=True)),
        Operator("sort(stable=True)", lambda x, y: torch.sort(x, dim=1, stable=True)),
        Operator("where(x > y, x, y)", lambda x, y: torch.where(x > y, x, y)),
        Operator("isclose", torch.isclose, differs=_ROUNDED),
        Operator("copysign", lambda x, y: torch.copysign(x, y), refused="cannot be exported exactly"),
        Operator("matmul", lambda x, y: x @ x.mT),
        Operator("unique(x % 7)", lambda x, y: torch.unique(x % 7, return_inverse=True, return_counts=True)),
        Operator("bincount(x % 7)", lambda x, y: torch.bincount(x.flatten() % 7, minlength=9)),
        *named(torch, "bitwise_left_shift bitwise_right_shift"),
        Operator("x << y", lambda x, y: x << y, refused="does not exist in ONNX"),
        Operator("x >> y", lambda x, y: x >> y, refused="does not exist in ONNX"),
        Operator("gcd", torch.gcd, refused="does not exist in ONNX"),
        Operator("isnan", lambda x, y: torch.isnan(x), refused="not valid ONNX"),
        *methods("to", torch.uint8),
        *methods("to", torch.int8),
        Operator("half().float()", lambda x, y: x.half().float()),
        *methods("clamp", 0, 10),
        *(Operator(name, compute) for name, compute in _SHIFTS),
    ],
)


_NOT_VALID, _NO_KERNEL = "not valid ONNX", "cannot load the model"

BOOLEANS = Family(
    "Booleans",
    [ROWS > 0, ROWS.flip(1) > 0],
    [
        *methods("sum cumsum any all amax amin count_nonzero", 1),
        *methods("any all sum"),
        *named(torch, "mul eq ne lt le gt ge bitwise_and bitwise_or bitwise_xor maximum minimum"),
        *named(torch, "logical_and logical_or logical_xor"),
        Operator("~x", lambda x, y: ~x),
        Operator("sum(dtype=int32)", lambda x, y: x.sum(1, dtype=torch.int32)),
        Operator("where(x, 1.0, -0.0)", lambda x, y: torch.where(x, 1.0, -0.0)),
        Operator("where(x, x, y)", lambda x, y: torch.where(x, x, y)),
        Operator("masked_fill(y, True)", lambda x, y: x.masked_fill(y, True)),
        Operator("gather", lambda x, y: x.gather(1, y.long())),
        Operator("cat, flip, roll, pad", lambda x, y: F.pad(torch.cat([x, y.flip(1)], 1).roll(1, 1), (1, 1))),
        Operator("tril", lambda x, y: x.tril()),
        Operator("x.float()[y]", lambda x, y: x.float()[y]),
        Operator("x + 1, x + 0.5", lambda x, y: (x + 1, x + 0.5)),
        Operator("sum(1) // 2", lambda x, y: x.sum(1) // 2),
        Operator("x + y", lambda x, y: x + y, refused=_NOT_VALID),
        *methods("max", 1, refused=_NOT_VALID),
        Operator("sort(stable=True)", lambda x, y: torch.sort(x, stable=True, dim=1), refused=_NOT_VALID),
    ],
)

_SMALL = torch.tensor([0, 1, -1, 2, -2, 3, 5, 7, -7, 31, 100, -100, 32767, -32768, 2**31 - 1, -(2**31)])


def _operators(no_kernel: str, not_valid: str, captured_wrong: str) -> list[Operator]:
    """Make the entries of a type. onnxruntime lacks some kernels, ONNX some types, and torch captures some wrongly."""
    plain = [
        Operator("add, sub, mul", lambda x, y: (x + y, x - y, x * y)),
        Operator("div", lambda x, y: x / y),
        Operator("abs, sign", lambda x, y: (x.abs(), x.sign())),
        Operator("eq, ne, lt, le", lambda x, y: (x == y, x != y, x < y, x <= y)),
        Operator("sum(1), cumsum(1)", lambda x, y: (x.sum(1), x.cumsum(1))),
        Operator("bitwise", lambda x, y: (x & y, x | y, x ^ y, ~x)),
        Operator("x // 3, x % 3", lambda x, y: (x // 3, x % 3)),
        Operator("x ** 2, x ** 3", lambda x, y: (x**2, x**3)),
        Operator("x + 1.5, x + y.long()", lambda x, y: (x + 1.5, x + y.long())),
        Operator("sort(stable=True)", lambda x, y: torch.sort(x, stable=True, dim=1)),
        Operator("any(1)", lambda x, y: x.any(1)),
    ]
    others = {
        "neg": lambda x, y: -x,
        "x // -1": lambda x, y: x // -1,
        "minimum": torch.minimum,
        "maximum": torch.maximum,
        "amax(1)": lambda x, y: x.amax(1),
        "argmax(1)": lambda x, y: x.argmax(1),
        "clamp(0, 10)": lambda x, y: x.clamp(0, 10),
        "where": lambda x, y: torch.where(x > y, x, y),
        "x << 2": lambda x, y: x << 2,
        "x >> 2": lambda x, y: x >> 2,
    }
    refused = dict.fromkeys(no_kernel.split("|"), _NO_KERNEL) | dict.fromkeys(not_valid.split("|"), _NOT_VALID)
    refused |= dict.fromkeys(captured_wrong.split("|"), "returns other results than the program captured")
    return plain + [Operator(name, compute, refused=refused.get(name, "")) for name, compute in others.items()]


def _family(dtype: torch.dtype, *, no_kernel: str = "", not_valid: str = "", captured_wrong: str = "") -> Family:
    values = _SMALL.to(dtype)
    operators = _operators(no_kernel, not_valid, captured_wrong)
    return Family(f"Two {str(dtype).removeprefix('torch.')}", pairs(values, values[values != 0]), operators)


INT32 = _family(torch.int32)
INT16 = _family(torch.int16, no_kernel="minimum|maximum|argmax(1)|clamp(0, 10)|where|x >> 2", not_valid="amax(1)")
INT8 = _family(torch.int8)
UINT8 = _family(torch.uint8, not_valid="neg|x // -1|x >> 2", captured_wrong="x << 2")
