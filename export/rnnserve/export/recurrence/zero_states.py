"""Removing initial states that are zeros: ONNX's recurrent operators start from zeros by default.

Many modules make them in their forward, `torch.zeros(layers * directions, input.size(0), hidden)`. Each would add
several nodes that compute a shape and fill it.
"""

import torch
from torch import fx

from rnnserve.export.recurrence import layer_operators

__all__ = ["remove_zero_states"]

_aten = torch.ops.aten
_ZEROS = (_aten.zeros.default, _aten.new_zeros.default, _aten.zeros_like.default)
_FULL = (_aten.full.default, _aten.new_full.default, _aten.full_like.default)
# Operators whose result is zeros if their first argument is.
_KEEPS = (
    _aten.slice.Tensor, _aten.select.int, _aten.expand.default, _aten.unsqueeze.default, _aten.squeeze.dim,
    _aten.view.default, _aten.reshape.default, _aten.transpose.int, _aten.permute.default, _aten.contiguous.default,
    _aten.clone.default, _aten.to.dtype, _aten.to.device, _aten.to.dtype_layout, _aten.repeat.default,
    _aten.detach.default, _aten.detach_.default, _aten.alias.default, _aten.narrow.default,
    _aten.lift_fresh_copy.default,
)  # fmt: skip
_STATES = {layer_operators.RNN: (2,), layer_operators.GRU: (2,), layer_operators.LSTM: (2, 3)}


def remove_zero_states(graph: fx.Graph) -> None:
    """Replace initial states that are certainly zeros by None, and remove the nodes that computed them, in place."""
    for node in graph.nodes:
        for position in _STATES.get(node.target, ()):
            if _is_zeros(node.args[position]):
                node.update_arg(position, None)
    graph.eliminate_dead_code()


def _is_zeros(value: object) -> bool:
    if not isinstance(value, fx.Node):
        return False
    if value.target in _ZEROS:
        return not _written(value)
    if value.target in _FULL:
        return bool(value.args[-1 if value.target is not _aten.new_full.default else 2] == 0) and not _written(value)
    return value.target in _KEEPS and not _written(value) and _is_zeros(value.args[0])


def _written(value: fx.Node) -> bool:
    """Whether an operator may write to `value`, directly or through a view of it."""
    for user in value.users:
        if not isinstance(user.target, torch._ops.OpOverload):  # noqa: SLF001
            continue
        schema = user.target._schema  # noqa: SLF001
        if schema.is_mutable:
            return True
        if any(result.alias_info is not None for result in schema.returns) and _written(user):
            return True
    return False
