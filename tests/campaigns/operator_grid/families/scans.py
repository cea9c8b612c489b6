"""Running sums and their like, over rows of 3,000 steps, and of large values."""

import torch
import torch.nn.functional as F

from campaigns.operator_grid.operators import Family, Operator
from campaigns.operator_grid.values import LONG

__all__ = ["PARALLEL_SCANS", "SCANS"]


def _min_gru(x):
    """Compute the parallel form of minGRU of https://arxiv.org/abs/2410.01201, appendix B.1. X is its gate, too."""
    log_keep = F.softplus(x).neg().cumsum(1)
    log_values = F.logsigmoid(x) + x.sigmoid().log()
    return (log_keep + (log_values - log_keep).logcumsumexp(1)).exp()


def _sizes(x):
    return x.abs().sum(1)


def _dilated(x):
    return F.conv1d(x[:, None], torch.ones(2, 1, 9, dtype=x.dtype), dilation=64)


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
        Operator("sum(1)", lambda x: x.sum(1), terms=_sizes),
        Operator("mean(1)", lambda x: x.mean(1), terms=lambda x: x.abs().mean(1)),
        Operator("var(1)", lambda x: x.var(1)),
        Operator("norm(dim=1)", lambda x: x.norm(dim=1)),
        Operator("softmax(1)", lambda x: x.softmax(1)),
        Operator("log_softmax(1)", lambda x: x.log_softmax(1)),
        Operator("x.T @ x", lambda x: x.mT @ x, terms=lambda x: x.abs().mT @ x.abs()),
        Operator("conv1d(dilation=64)", _dilated, terms=lambda x: _dilated(x.abs())),
        Operator("cumsum(1) of 1,000", lambda x: x[:, :1000].cumsum(1)),
        Operator("logcumsumexp(1) of 1,000", lambda x: x[:, :1000].logcumsumexp(1)),
        Operator("mean(1), sum(1) of 1,000", lambda x: (x[:, :1000].mean(1), x[:, :1000].sum(1)), terms=_sizes),
        Operator("logsumexp(1)", lambda x: x.logsumexp(1)),
        Operator("sort(stable=True) of 3,000 with ties", lambda x: x.round().sort(stable=True, dim=1)),
        Operator("the same, descending", lambda x: x.round().sort(stable=True, dim=1, descending=True)),
        Operator("cumprod(1)", lambda x: x.cumprod(1)),
        Operator("cummax(1)", lambda x: x.cummax(1).values, refused="does not exist in ONNX"),
        Operator("cummax(1).indices", lambda x: x.cummax(1).indices, refused="does not exist in ONNX"),
        Operator("cummin(1)", lambda x: x.cummin(1).values, refused="does not exist in ONNX"),
    ],
    tries_nothing=False,  # so that the graph is the one of a request: no loop is guarded
)

PARALLEL_SCANS = Family(
    "Parallel scans over 3,000 steps, whose exponents are in the thousands",
    [LONG],
    [
        Operator("minGRU, parallel", _min_gru, terms=_min_gru_terms),
        Operator(
            "minGRU, parallel, of 1,000", lambda x: _min_gru(x[:, :1000]), terms=lambda x: _min_gru_terms(x[:, :1000])
        ),
    ],
    tries_nothing=False,
)
