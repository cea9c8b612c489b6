"""Operators that torch translates, but to something else than what they compute, and that have no right form here.

A module that uses one is refused, with what to write instead.
"""

from collections.abc import Callable
from typing import Any

import torch

from rnnserve.export.errors import UnsupportedModule

__all__ = ["TRANSLATIONS"]

_ATEN = torch.ops.aten

_BAGS = (
    "onnxruntime ends the process when it loads the loop that torch makes of it. Call nn.EmbeddingBag, or "
    "torch.nn.functional.embedding_bag, with rows of ids (batch, ids), which is exported; or use embedding(tokens), "
    "zeros in the place of padding, and .sum(1), divided by the number of ids that are no padding for a mean"
)
_INSTEAD = {
    **dict.fromkeys(
        (
            _ATEN.embedding_bag.default,
            _ATEN.embedding_bag.padding_idx,
            _ATEN._embedding_bag.default,  # noqa: SLF001 - its name in a decomposed program
            _ATEN._embedding_bag_forward_only.default,  # noqa: SLF001 - the same
        ),
        _BAGS,
    ),
    _ATEN.hardtanh_backward.default: "it belongs to training, and its translation has other values at the bounds",
    _ATEN.special_erfcx.default: (
        "its translation is exp(x * x) * (1 - erf(x)), which is nan from 10 on and wrong from 3 on; "
        "log_ndtr is made of it, too. Compute it before the model, or use logsigmoid(1.702 * x) where an "
        "approximation will do"
    ),
}


def _refusal(operator: torch._ops.OpOverload, why: str) -> Callable[..., Any]:
    def refuse(*_: object, **__: object) -> None:
        raise UnsupportedModule(f"{operator} cannot be exported right: {why}.")

    return refuse


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    operator: _refusal(operator, why) for operator, why in _INSTEAD.items()
}
