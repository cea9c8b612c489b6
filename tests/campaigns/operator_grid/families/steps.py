"""Running sums and similar operators over 3,000 steps, and operators along an axis that may have no steps."""

import torch
import torch.nn.functional as F
from torch import nn

from campaigns.operator_grid.operators import Family, Operator, methods
from campaigns.operator_grid.values import LONG, ROWS


def _min_gru(x):
    """Compute the parallel form of minGRU (https://arxiv.org/abs/2410.01201, appendix B.1). X is also its gate."""
    log_keep = F.softplus(x).neg().cumsum(1)
    log_values = F.logsigmoid(x) + x.sigmoid().log()
    return (log_keep + (log_values - log_keep).logcumsumexp(1)).exp()


def _sizes(x):
    return x.abs().sum(1)


def _dilated(x):
    return F.conv1d(x[:, None], torch.ones(2, 1, 9, dtype=x.dtype), dilation=64)


def _min_gru_terms(x):
    """Compute the part that is rounded: the exponent, whose last digits become factors of the result."""
    log_keep = F.softplus(x).neg().cumsum(1)
    return _min_gru(x) * (1 + 2 * log_keep.abs())


SCANS = Family(
    "Scans over 3,000 steps",
    [LONG],
    [
        *methods("cumsum logcumsumexp var softmax log_softmax logsumexp cumprod", 1),
        Operator("(x > 0).cumsum(1)", lambda x: (x > 0).cumsum(1)),
        Operator("(x > 0).int().cumsum(1)", lambda x: (x > 0).int().cumsum(1)),
        Operator("(40 * x).logcumsumexp(1)", lambda x: (40 * x).logcumsumexp(1)),
        Operator("sum(1)", lambda x: x.sum(1), terms=_sizes),
        Operator("mean(1)", lambda x: x.mean(1), terms=lambda x: x.abs().mean(1)),
        Operator("norm(dim=1)", lambda x: x.norm(dim=1)),
        Operator("x.T @ x", lambda x: x.mT @ x, terms=lambda x: x.abs().mT @ x.abs()),
        Operator("conv1d(dilation=64)", _dilated, terms=lambda x: _dilated(x.abs())),
        Operator("sort(stable=True) of 3,000 with ties", lambda x: x.round().sort(stable=True, dim=1)),
        Operator("cummax(1)", lambda x: x.cummax(1).values, refused="does not exist in ONNX"),
        Operator("cummax(1).indices", lambda x: x.cummax(1).indices, refused="does not exist in ONNX"),
        Operator("cummin(1)", lambda x: x.cummin(1).values, refused="does not exist in ONNX"),
    ],
    tries_nothing=False,  # so that the graph equals a request's, without a guarded loop
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


_FINITE = ROWS[ROWS.isfinite().all(1) & (ROWS.abs() < 200).all(1)]


class _Layer(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer(3, 2, batch_first=True)

    def forward(self, x):
        return self.layer(x.clamp(-3, 3))


def _ones(_):
    return torch.ones(())


STEPS = Family(
    "Steps (batch, steps, features), of which there may be none",
    [torch.stack([_FINITE, _FINITE.flip(1), _FINITE + 1], 2)],
    [
        *methods("sum mean prod std var any all amax amin max min argmax argmin cumsum cumprod logcumsumexp", 1),
        *methods("softmax log_softmax logsumexp count_nonzero nansum nanmean flip", 1),
        *methods("mean max any argmax"),
        Operator("mean((1, 2), keepdim=True)", lambda x: x.mean((1, 2), keepdim=True)),
        Operator("amax((1, 2))", lambda x: x.amax((1, 2))),
        Operator("(x > 0).any(1)", lambda x: (x > 0).any(1)),
        Operator("long().amax(1)", lambda x: x.long().amax(1)),
        Operator("long().cummax(1)", lambda x: x.long().cummax(1).values, refused="does not exist in ONNX"),
        Operator("var_mean(1)", lambda x: torch.var_mean(x, 1), terms=lambda x: x.abs().mean(1)),
        *(Operator(f"norm(p={p})", lambda x, p=p: x.norm(p=p, dim=1)) for p in (1, 2, 3, float("inf"))),
        Operator("sort(stable=True)", lambda x: torch.sort(x, stable=True, dim=1)),
        Operator("topk(1).values", lambda x: x.topk(1, 1).values),
        Operator("x[:, 0], x[:, -1]", lambda x: (x[:, 0], x[:, -1])),
        Operator("x[:, 1:].mean(1)", lambda x: x[:, 1:].mean(1), refused='sizes={"batch": (2, …)}'),
        Operator("cat", lambda x: torch.cat([x, x[:, 1:]], 1)),
        Operator("x.mT @ x", lambda x: x.mT @ x, terms=lambda x: x.abs().mT @ x.abs()),
        Operator("linear", lambda x: F.linear(x, torch.eye(3, dtype=x.dtype)[:2])),
        Operator("layer_norm", lambda x: F.layer_norm(x, (3,)), terms=lambda x: torch.ones_like(x[..., :1]) * 1e4),
        Operator(
            "conv1d(kernel_size=3, padding=1)",
            lambda x: F.conv1d(x.mT, torch.eye(3, dtype=x.dtype).expand(2, 3, 3), padding=1),
            terms=lambda x: x.abs().sum((1, 2), keepdim=True),
        ),
        Operator(
            "conv_transpose1d",
            lambda x: F.conv_transpose1d(x.mT, torch.ones(3, 2, 3, dtype=x.dtype)),
            terms=lambda x: x.abs().sum((1, 2), keepdim=True),
        ),
        Operator("mse_loss", lambda x: F.mse_loss(x, 2 * x)),
        Operator("embedding", lambda x: F.embedding(x[..., 0].long().clamp(0, 2), torch.eye(3))),
        *(Operator(layer.__name__, _Layer(layer), terms=_ones) for layer in (nn.GRU, nn.LSTM, nn.RNN)),
    ],
    axis=1,
)
