"""Layers and whole modules of users of RNNs, of which `delicate_modules` makes its cases."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

__all__ = [
    "FEATURES",
    "HIDDEN",
    "FrontEnd",
    "Largest",
    "MinGru",
    "PaddedMean",
    "StartOfZeros",
    "Tokens",
    "attended",
]

FEATURES, HIDDEN = 4, 6


class FrontEnd(nn.Module):
    """A front end that works on features (batch, sequence, features), and a recurrent layer after it."""

    def __init__(
        self, front: Callable[[torch.Tensor], torch.Tensor], cell: Callable[..., nn.RNNBase], features: int = FEATURES
    ):
        super().__init__()
        self.front = front
        self.cell = cell(features, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 3)

    def forward(self, x):
        y, _ = self.cell(self.front(x))
        return self.head(y)


class MinGru(nn.Module):
    """The parallel form of Feng et al., "Were RNNs all we needed?" (2024): a scan in the log domain."""

    def __init__(self):
        super().__init__()
        self.gate, self.candidate = nn.Linear(FEATURES, HIDDEN), nn.Linear(FEATURES, HIDDEN)

    def forward(self, x):
        gate, candidate = self.gate(x), self.candidate(x)
        log_forget = -F.softplus(gate)
        log_candidate = torch.where(candidate >= 0, torch.log(F.relu(candidate) + 0.5), -F.softplus(-candidate))
        sums = torch.cumsum(log_forget, dim=1)
        return torch.exp(sums + torch.logcumsumexp(-F.softplus(-gate) + log_candidate - sums, dim=1))


class Tokens(nn.Module):
    """Token ids through an embedding and a GRU; `change` may look at all of them."""

    def __init__(self, change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], ids: int):
        super().__init__()
        self.change = change
        self.embedding = nn.Embedding(ids, FEATURES)
        self.cell = nn.GRU(FEATURES, HIDDEN, batch_first=True)

    def forward(self, tokens):
        y, _ = self.cell(self.change(tokens, self.embedding(tokens)))
        return y[:, -1]


class Largest(nn.Module):
    """The largest entries of a hidden state, with their places: ties where the input is constant."""

    def __init__(self):
        super().__init__()
        self.cell = nn.RNN(FEATURES, HIDDEN, batch_first=True, nonlinearity="relu")

    def forward(self, x):
        return torch.topk(self.cell(x)[0], 3, dim=-1)


class StartOfZeros(nn.Module):
    """Takes a state of zeros as the start, for which it has a learned one."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRU(FEATURES, HIDDEN, batch_first=True)
        self.first = nn.Parameter(torch.randn(1, 1, HIDDEN))

    def forward(self, x, h):
        return self.cell(x, torch.where((h == 0).all(-1, keepdim=True), self.first, h))


class PaddedMean(nn.Module):
    """A mean over the ids that are not padding: 0 / 0 for a row of padding, unless the divisor is bounded."""

    def __init__(self, least: int):
        super().__init__()
        self.least = least
        self.embedding = nn.Embedding(1000, FEATURES, padding_idx=0)
        self.cell = nn.GRU(FEATURES, HIDDEN, batch_first=True)

    def forward(self, tokens):
        y, _ = self.cell(self.embedding(tokens))
        kept = tokens != 0
        return (y * kept.unsqueeze(-1)).sum(1) / kept.sum(1, keepdim=True).clamp(min=self.least)


def attended(x, mask):
    """Let each step look at those of its row that a mask (batch, sequence) shows: there may be none."""
    heads = x.unsqueeze(1)
    return F.scaled_dot_product_attention(heads, heads, heads, attn_mask=mask[:, None, None]).squeeze(1)
