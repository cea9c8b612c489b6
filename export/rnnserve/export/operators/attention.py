"""Attention without an axis of heads, and under a mask that hides every key of a query: eager gives zeros there.

torch's translation takes four axes only. It gives the mean of all values for a mask of booleans, since it adds
float32's lowest number to what is hidden, and NaN for a mask of floats that is -inf throughout.
"""

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir
import torch

from rnnserve.export.operators.values import Value, op

__all__ = ["TRANSLATIONS"]

_PAIRS = 2  # axes of a mask that is the same for all rows: (queries, keys)


def _attention(
    query: Value, key: Value, value: Value, attn_mask: Value = None, *further: Value, **named: Value
) -> Value:
    """Weigh values by how keys fit queries, as torch translates it; zeros where a query sees no key.

    Args:
        query: (batch, heads, queries, features), of which heads, or batch and heads, may be left out.
        key: (batch, heads, keys, features), likewise.
        value: (batch, heads, keys, features of values), likewise.
        attn_mask: Booleans, true of keys that are seen, or floats that are added: (…, queries, keys), with 1 in the
            place of either where it is the same for all. None for no mask.
        further: The operator's further arguments.
        named: The operator's further arguments by name.
    """
    # Here, since it takes 0.4 s, which torch has spent by now: it takes its translations from there.
    from onnxscript.function_libs.torch_lib.ops.nn import aten_scaled_dot_product_attention

    missing = {3: [1], 2: [0, 1]}.get(len(query.shape))
    if missing is not None:
        given = [_with_axes(each, missing) for each in (query, key, value)]
        has_batch = attn_mask is not None and len(attn_mask.shape) > _PAIRS
        mask = _with_axes(attn_mask, missing) if has_batch else attn_mask
        return op.Squeeze(_attention(*given, mask, *further, **named), op.Constant(value_ints=missing))
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


def _with_axes(x: Value, places: Sequence[int]) -> Value:
    """Add axes of size 1, of which the translation is told."""
    result = op.Unsqueeze(x, op.Constant(value_ints=places))
    sizes = list(x.shape)
    for at in places:
        sizes.insert(at, 1)
    result.type, result.shape = ir.TensorType(x.dtype), ir.Shape(sizes)
    return result


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.scaled_dot_product_attention.default: _attention,
}
