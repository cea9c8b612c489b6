"""Modules whose `forward` neither takes nor returns states, and what is said of their sequences in parts."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnnserve.export import scan

__all__ = ["FEATURES", "STREAM", "WHOLE", "Stateless"]

FEATURES = 3


class Stateless(nn.Module):
    """A layer, and what a function makes of the layer and the input."""

    def __init__(self, compute: Callable[[Any, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.compute = compute
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.compute(self, x)


def _gru(**options: bool) -> nn.GRU:
    return nn.GRU(FEATURES, FEATURES, batch_first=True, **options)


def _running_max(y: Tensor) -> Tensor:
    first = torch.full_like(y[:, 0], -torch.inf)
    return scan(lambda before, values: (torch.maximum(before, values),) * 2, first, y, dim=1)[1]


def _convolved(module, x: Tensor) -> Tensor:
    return module.gru(module.conv(F.pad(x.transpose(1, 2), (2, 0))).transpose(1, 2))[0]


def _attended(module, x: Tensor) -> Tensor:
    output = module.gru(x)[0]
    return torch.softmax(output @ output.transpose(1, 2), -1) @ output


STREAM: dict[str, tuple[Callable[[], nn.Module], Sequence[str]]] = {
    "stacked": (
        lambda: Stateless(lambda m, x: m.lstm(x)[0], lstm=nn.LSTM(FEATURES, 4, 2, batch_first=True)),
        ["lstm.0.h", "lstm.0.c", "lstm.1.h", "lstm.1.c"],
    ),
    "causal_conv": (
        lambda: Stateless(_convolved, gru=_gru(), conv=nn.Conv1d(FEATURES, FEATURES, 3)),
        ["conv.last", "gru.h"],
    ),
    "running_max": (
        lambda: Stateless(lambda m, x: _running_max(m.gru(x)[0]), gru=_gru()),
        ["gru.h", "scan.state"],
    ),
}
"""Those that may be sent in parts, each with the states that are found."""

WHOLE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "bidirectional": (
        lambda: Stateless(lambda m, x: m.gru(x)[0], gru=_gru(bidirectional=True)),
        '"y": GRU "gru/node_gru__1" runs backward over all steps of "sequence"',
    ),
    "centred_conv": (
        lambda: Stateless(
            lambda m, x: m.gru(m.conv(x.transpose(1, 2)).transpose(1, 2))[0],
            gru=_gru(),
            conv=nn.Conv1d(FEATURES, FEATURES, 3, padding=1),
        ),
        '"y": Conv "conv/node_conv1d" reads 1 steps ahead of "sequence"',
    ),
    "attention": (
        lambda: Stateless(_attended, gru=_gru()),
        'Softmax "node_softmax" may read other steps: cutting a sequence changes its output',
    ),
}
"""Those that are served whole, each with the beginning of the reason, which names the operator."""
