"""Booleans, and integers of 8, 16 and 32 bits: what onnxruntime has kernels for, and sums that overflow."""

import torch
import torch.nn.functional as F

from campaigns.operator_grid.operators import Family, Operator
from campaigns.operator_grid.values import ROWS, pairs

__all__ = ["BOOLEANS", "INT8", "INT16", "INT32", "UINT8"]

_NOT_VALID, _NO_KERNEL = "not valid ONNX", "cannot load the model"

BOOLEANS = Family(
    "Booleans",
    [ROWS > 0, ROWS.flip(1) > 0],
    [
        *(
            Operator(f"{name}(1)", lambda x, _, name=name: getattr(x, name)(1))
            for name in ("sum", "cumsum", "any", "all", "amax", "amin", "count_nonzero")
        ),
        *(Operator(f"{name}()", lambda x, _, name=name: getattr(x, name)()) for name in ("any", "all", "sum")),
        *(
            Operator(name, lambda x, y, name=name: getattr(torch, name)(x, y))
            for name in ("mul", "eq", "ne", "lt", "le", "gt", "ge", "bitwise_and", "bitwise_or", "bitwise_xor")
        ),
        *(
            Operator(name, lambda x, y, name=name: getattr(torch, name)(x, y))
            for name in ("maximum", "minimum", "logical_and", "logical_or", "logical_xor")
        ),
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
        Operator("max(1)", lambda x, y: x.max(1), refused=_NOT_VALID),
        Operator("sort(stable=True)", lambda x, y: torch.sort(x, stable=True, dim=1), refused=_NOT_VALID),
    ],
)

_SMALL = torch.tensor([0, 1, -1, 2, -2, 3, 5, 7, -7, 31, 100, -100, 32767, -32768, 2**31 - 1, -(2**31)])


def _operators(no_kernel: str, not_valid: str) -> list[Operator]:
    """Make the entries of a type, of which onnxruntime has no kernel, or ONNX no form, for those that are named."""
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
    return plain + [Operator(name, compute, refused=refused.get(name, "")) for name, compute in others.items()]


def _family(dtype: torch.dtype, *, no_kernel: str = "", not_valid: str = "") -> Family:
    values = _SMALL.to(dtype)
    operators = _operators(no_kernel, not_valid)
    return Family(f"Two {str(dtype).removeprefix('torch.')}", pairs(values, values[values != 0]), operators)


INT32 = _family(torch.int32)
INT16 = _family(torch.int16, no_kernel="minimum|maximum|argmax(1)|clamp(0, 10)|where|x >> 2", not_valid="amax(1)")
INT8 = _family(torch.int8)
UINT8 = _family(torch.uint8, not_valid="neg|x // -1|x << 2|x >> 2")
