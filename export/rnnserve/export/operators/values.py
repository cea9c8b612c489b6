"""What translations ask of the values that they are given, and the operators that they are written with."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
import onnxscript

__all__ = ["Value", "is_floating", "is_negative", "op"]

Value: TypeAlias = Any  # an onnx_ir.Value, or a number; onnxscript types its operators by what they compute

_BOOLS = frozenset(
    {"And", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "Not", "Or", "Xor"}
)
_LIKE_SECOND = frozenset({"CastLike", "Where"})
_LIKE_FIRST = frozenset(
    {"Abs", "Add", "Atan", "Ceil", "Div", "Exp", "Expand", "Floor", "Gather", "Log", "Max", "Min", "Mod", "Mul", "Neg"}
    | {"Pow", "Range", "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Reshape", "Sign", "Sqrt"}
    | {"Softplus", "Squeeze", "Sub", "Transpose", "Unsqueeze"}
)


class _TypedOperators:
    """onnxscript's operators, whose results get their type at once.

    onnxscript gives a number the type of the value beside it, where that is given; else it takes float32, which is no
    valid ONNX beside float64. A number that is cast like a float64 would have gone through float32, too: 0.7 lost half
    of its digits.
    """

    # Its annotations say what an operator computes, not what a translation handles.
    _operators: Any = onnxscript.opset20

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operator = getattr(self._operators, name)

        def typed(*arguments: Value, **attributes: Any) -> Value:  # noqa: ANN401 - whatever the operator has
            if name == "CastLike" and isinstance(arguments[0], int | float) and arguments[1].dtype is not None:
                number = np.array(arguments[0]).astype(arguments[1].dtype.numpy())
                constant: Value = self._operators.Constant(value=ir.tensor(number, dtype=arguments[1].dtype))
                constant.dtype = arguments[1].dtype
                return constant
            result = operator(*arguments, **attributes)
            dtype = _type_of(name, arguments, attributes)
            if isinstance(result, ir.Value) and result.dtype is None and dtype is not None:
                result.dtype = dtype
            return result

        return typed


def _type_of(name: str, arguments: tuple[Value, ...], attributes: dict[str, Any]) -> ir.DataType | None:
    if name in _BOOLS:
        return ir.DataType.BOOL
    if name == "Cast":
        return ir.DataType(int(attributes["to"]))
    if name in ("Shape", "Size"):
        return ir.DataType.INT64
    if name in _LIKE_SECOND or name in _LIKE_FIRST:
        given = arguments[1:] if name in _LIKE_SECOND else arguments
        return next((value.dtype for value in given if isinstance(value, ir.Value)), None)
    return None


op: Any = _TypedOperators()


def is_floating(value: Value) -> bool:
    """Whether a value is of floats."""
    dtype: ir.DataType | None = value.dtype
    return dtype is not None and dtype.is_floating_point()


def is_negative(x: Value) -> Value:
    """Compute where floats have a sign: -0.0 included, whose reciprocal is -inf."""
    return op.Or(op.Less(x, 0.0), op.Less(op.Reciprocal(x), 0.0))
