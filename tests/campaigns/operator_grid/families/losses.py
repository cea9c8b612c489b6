"""Losses, as modules use them for scores."""

import torch
import torch.nn.functional as F

from campaigns.operator_grid.operators import Family, Operator
from campaigns.operator_grid.values import ROWS

__all__ = ["LOSSES"]

_NOT_VALID = "valid ONNX"


def _first(x):
    return torch.zeros_like(x[:, 0]).nan_to_num().long()


def _logarithms(x):
    score, target = x.nan_to_num().sigmoid(), x.nan_to_num().flip(1).sigmoid()
    # The rounding of a sigmoid near 1 is that of 1, divided by what is left of it.
    return target * score.log().abs() + (1 - target) * ((1 - score).log().abs() + 1 / (1 - score).clamp(1e-7))


LOSSES = Family(
    "Losses",
    [ROWS],
    [
        Operator(
            "nll_loss(reduction='none')", lambda x: F.nll_loss(x, _first(x), reduction="none"), refused=_NOT_VALID
        ),
        Operator(
            "cross_entropy(reduction='none')",
            lambda x: F.cross_entropy(x, _first(x), reduction="none"),
            refused=_NOT_VALID,
        ),
        Operator("kl_div", lambda x: F.kl_div(x.log_softmax(1), x.flip(1).softmax(1), reduction="none")),
        Operator("l1_loss", lambda x: F.l1_loss(x, x.flip(1))),
        Operator("mse_loss", lambda x: F.mse_loss(x, x.flip(1))),
        Operator("poisson_nll_loss", lambda x: F.poisson_nll_loss(x, x.abs(), reduction="none")),
        Operator("hinge_embedding_loss", lambda x: F.hinge_embedding_loss(x, torch.ones_like(x), reduction="none")),
        Operator("soft_margin_loss", lambda x: F.soft_margin_loss(x, torch.ones_like(x), reduction="none")),
        Operator(
            "multilabel_soft_margin_loss",
            lambda x: F.multilabel_soft_margin_loss(x, torch.ones_like(x), reduction="none"),
        ),
        Operator(
            "binary_cross_entropy",
            lambda x: F.binary_cross_entropy(
                x.nan_to_num().sigmoid(), x.nan_to_num().flip(1).sigmoid(), reduction="none"
            ),
            terms=_logarithms,
        ),
    ],
)
