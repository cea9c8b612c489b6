"""Operators along an axis of steps whose number is not fixed, and may be 0."""

import torch
import torch.nn.functional as F
from torch import nn

from campaigns.operator_grid.operators import Family, Operator
from campaigns.operator_grid.values import ROWS

__all__ = ["STEPS"]

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
        *(
            Operator(f"{name}(1)", lambda x, name=name: getattr(x, name)(1))
            for name in ("sum", "mean", "prod", "std", "var", "any", "all", "amax", "amin", "max", "min", "argmax")
        ),
        *(
            Operator(f"{name}(1)", lambda x, name=name: getattr(x, name)(1))
            for name in ("argmin", "cumsum", "cumprod", "logcumsumexp", "softmax", "log_softmax")
        ),
        *(
            Operator(f"{name}(1)", lambda x, name=name: getattr(x, name)(1))
            for name in ("logsumexp", "count_nonzero", "nansum", "nanmean")
        ),
        Operator("flip(1)", lambda x: x.flip(1)),
        *(Operator(f"{name}()", lambda x, name=name: getattr(x, name)()) for name in ("mean", "max", "any", "argmax")),
        Operator("mean((1, 2), keepdim=True)", lambda x: x.mean((1, 2), keepdim=True)),
        Operator("amax((1, 2))", lambda x: x.amax((1, 2))),
        Operator("(x > 0).any(1)", lambda x: (x > 0).any(1)),
        Operator("(x > 0).all((1, 2))", lambda x: (x > 0).all(1).all(1)),
        Operator("long().amax(1)", lambda x: x.long().amax(1)),
        Operator("long().cummax(1)", lambda x: x.long().cummax(1).values, refused="does not exist in ONNX"),
        Operator("var_mean(1)", lambda x: torch.var_mean(x, 1), terms=lambda x: x.abs().mean(1)),
        *(Operator(f"norm(p={p})", lambda x, p=p: x.norm(p=p, dim=1)) for p in (1, 2, 3, float("inf"))),
        Operator("sort(stable=True)", lambda x: torch.sort(x, stable=True, dim=1)),
        Operator("topk(1).values", lambda x: x.topk(1, 1).values),
        Operator("x[:, 0], x[:, -1]", lambda x: (x[:, 0], x[:, -1])),
        Operator("x[:, 1:]", lambda x: x[:, 1:]),
        Operator("x[:, 1:].mean(1)", lambda x: x[:, 1:].mean(1), refused='sizes={"batch": (2, None)}'),
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
