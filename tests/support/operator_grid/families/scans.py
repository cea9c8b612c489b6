"""Running sums and their like, over rows of 3,000 steps, and of large values."""

import torch.nn.functional as F

from support.operator_grid.operators import Family, Operator
from support.operator_grid.values import LONG

__all__ = ["SCANS"]


def _min_gru(x):
    """Compute the parallel form of minGRU of https://arxiv.org/abs/2410.01201, appendix B.1; x is its gate, too."""
    log_keep = F.softplus(x).neg().cumsum(1)
    log_values = F.logsigmoid(x) + x.sigmoid().log()
    return (log_keep + (log_values - log_keep).logcumsumexp(1)).exp()


def _min_gru_terms(x):
    """Compute what rounds: the exponent, of thousands, whose last digits are factors of the result."""
    log_keep = F.softplus(x).neg().cumsum(1)
    return _min_gru(x) * (1 + 2 * log_keep.abs())


SCANS = Family(
    "Scans over 3,000 steps",
    [LONG],
    [
        Operator("cumsum(1)", lambda x: x.cumsum(1)),
        Operator("(x > 0).cumsum(1)", lambda x: (x > 0).cumsum(1)),
        Operator("(x > 0).int().cumsum(1)", lambda x: (x > 0).int().cumsum(1)),
        Operator("logcumsumexp(1)", lambda x: x.logcumsumexp(1)),
        Operator("(40 * x).logcumsumexp(1)", lambda x: (40 * x).logcumsumexp(1)),
        Operator("minGRU, parallel", _min_gru, terms=_min_gru_terms),
        Operator("logsumexp(1)", lambda x: x.logsumexp(1)),
        Operator("sort(stable=True) of 3,000 with ties", lambda x: x.round().sort(stable=True, dim=1)),
        Operator("the same, descending", lambda x: x.round().sort(stable=True, dim=1, descending=True)),
        Operator("cumprod(1)", lambda x: x.cumprod(1)),
        Operator("cummax(1)", lambda x: x.cummax(1)),
        Operator("cummin(1)", lambda x: x.cummin(1)),
    ],
)
