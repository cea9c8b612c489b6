"""Attention under a mask that hides every key of a query: eager gives zeros there.

torch's translation gives the mean of all values for a mask of booleans, since it adds float32's lowest number to what
is hidden, and NaN for a mask of floats that is -inf throughout.
"""

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch

from rnnserve.export.operators.values import Value, op

__all__ = ["TRANSLATIONS"]


def _attention(
    query: Value, key: Value, value: Value, attn_mask: Value = None, *further: Value, **named: Value
) -> Value:
    """Weigh values by how keys fit queries, as torch translates it; zeros where a query sees no key.

    Args:
        query: (batch, heads, queries, features).
        key: (batch, heads, keys, features).
        value: (batch, heads, keys, features of values).
        attn_mask: Booleans, true of keys that are seen, or floats that are added: (…, queries, keys), with 1 in the
            place of either where it is the same for all. None for no mask.
        further: The operator's further arguments.
        named: The operator's further arguments by name.
    """
    # Here, since it takes 0.4 s, which torch has spent by now: it takes its translations from there.
    from onnxscript.function_libs.torch_lib.ops.nn import aten_scaled_dot_product_attention

    if attn_mask is None:
        return aten_scaled_dot_product_attention(query, key, value, None, *further, **named)
    zero, keys = op.CastLike(0.0, query), op.Constant(value_ints=[-1])
    if attn_mask.dtype == ir.DataType.BOOL:
        seen = op.ReduceMax(op.Cast(attn_mask, to=ir.DataType.INT32.value), keys)
        sees = op.Cast(seen, to=ir.DataType.BOOL.value)
    else:
        sees = op.Not(op.Equal(op.ReduceMax(attn_mask, keys), op.CastLike(float("-inf"), attn_mask)))
        attn_mask = op.Where(sees, attn_mask, op.CastLike(0.0, attn_mask))
    weighed = aten_scaled_dot_product_attention(query, key, value, attn_mask, *further, **named)
    return op.Where(sees, weighed, zero)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.scaled_dot_product_attention.default: _attention,
}
