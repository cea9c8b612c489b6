"""What translations ask of the values that they are given."""

from typing import Any, TypeAlias

import onnx_ir as ir
import onnxscript

__all__ = ["Value", "is_floating", "is_negative", "op"]

op: Any = onnxscript.opset20  # its annotations say what an operator computes, not what a translation handles

Value: TypeAlias = Any  # an onnx_ir.Value, or a number; onnxscript types its operators by what they compute


def is_floating(value: Value) -> bool:
    """Whether a value is of floats."""
    dtype: ir.DataType | None = value.dtype
    return dtype is not None and dtype.is_floating_point()


def is_negative(x: Value) -> Value:
    """Compute where floats have a sign: -0.0 included, whose reciprocal is -inf."""
    return op.Or(op.Less(x, 0.0), op.Less(op.Reciprocal(x), 0.0))
