"""Layers and whole modules of users of RNNs, of which `delicate_modules` makes its cases."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from rnnserve.export import scan

__all__ = [
    "FEATURES",
    "HIDDEN",
    "After",
    "Free",
    "FrontEnd",
    "Largest",
    "LargestStep",
    "LearnedLstm",
    "LearnedState",
    "MinGru",
    "Mixture",
    "PaddedMean",
    "Pointers",
    "Pooled",
    "SelfAttention",
    "StartOfZeros",
    "Strided",
    "Tokens",
    "attended",
    "clocked",
]

FEATURES, HIDDEN = 4, 6


class After(nn.Module):
    """A GRU, and something computed of its results (batch, sequence, hidden)."""

    def __init__(self, compute: Callable[[torch.Tensor], torch.Tensor]):
        super().__init__()
        self.cell = nn.GRU(FEATURES, HIDDEN, batch_first=True)
        self.compute = compute

    def forward(self, x):
        return self.compute(self.cell(x)[0])


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


class LearnedState(nn.Module):
    """Starts from a learned state where none is given."""

    def __init__(self, cell: Callable[..., nn.RNNBase]):
        super().__init__()
        self.cell = cell(FEATURES, HIDDEN, batch_first=True)
        self.first = nn.Parameter(torch.randn(1, 1, HIDDEN))

    def forward(self, x: torch.Tensor, h: torch.Tensor | None = None):
        if h is None:
            h = self.first.expand(1, x.size(0), HIDDEN).contiguous()
        return self.cell(x, h)


class LearnedLstm(nn.Module):
    """The same with the two states of an LSTM, of which one is learned."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTM(FEATURES, HIDDEN, batch_first=True)
        self.first = nn.Parameter(torch.randn(1, 1, HIDDEN))

    def forward(self, x: torch.Tensor, h: torch.Tensor | None = None, c: torch.Tensor | None = None):
        if h is None:
            h = torch.zeros(1, x.size(0), HIDDEN, dtype=x.dtype)
        if c is None:
            c = self.first.expand(1, x.size(0), HIDDEN).contiguous()
        y, (h_n, c_n) = self.cell(x, (h, c))
        return y, h_n, c_n


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


class LargestStep(nn.Module):
    """The step at which each state is largest: states converge, so that many steps are equal but for rounding."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRU(FEATURES, HIDDEN, batch_first=True)

    def forward(self, x):
        return tuple(self.cell(x)[0].max(1))


class Pooled(nn.Module):
    """The logarithm of a sum of exponentials of scores, of which those of negative steps do not count."""

    def __init__(self):
        super().__init__()
        self.cell, self.score = nn.GRU(FEATURES, HIDDEN, batch_first=True), nn.Linear(HIDDEN, 1)

    def forward(self, x):
        scores = self.score(self.cell(x)[0]).squeeze(-1)
        return scores.masked_fill(x[..., 0] < 0, -1e9).logsumexp(1, keepdim=True)


class Mixture(nn.Module):
    """A mixture density head (Bishop, 1994) whose deviations are exponentials of steep scores."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.LSTM(FEATURES, HIDDEN, batch_first=True), nn.Linear(HIDDEN, 9)

    def forward(self, x):
        weights, means, scores = self.head(self.cell(x)[0]).chunk(3, -1)
        return weights.softmax(-1), means, torch.exp(30 * scores)


class SelfAttention(nn.Module):
    """Gives its weights, too: (batch, sequence, sequence)."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRU(FEATURES, HIDDEN, batch_first=True)

    def forward(self, x):
        y, _ = self.cell(x)
        weights = torch.softmax(y @ y.transpose(1, 2), dim=-1)
        return weights @ y, weights


class Free(nn.Module):
    """A step of a generator: all that it takes is its state."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(HIDDEN, HIDDEN)

    def forward(self, h):
        return self.cell(h, h)


class Strided(nn.Module):
    """A convolution whose output has an eighth of the steps."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv1d(FEATURES, HIDDEN, 8, stride=8)
        self.cell = nn.GRU(HIDDEN, HIDDEN, batch_first=True)

    def forward(self, x):
        return self.cell(self.convolution(x.transpose(1, 2)).transpose(1, 2))[0]


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


class Pointers(nn.Module):
    """A pointer network: each step chooses the step of the input that fits best of those that are left."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.LSTM(FEATURES, HIDDEN, batch_first=True)
        self.cell = nn.LSTMCell(FEATURES, HIDDEN)

    def forward(self, x):
        memory, (h, c) = self.encoder(x)

        def step(state, _):
            h, c, last, used = state
            h, c = self.cell(last, (h, c))
            fits = (memory * h.unsqueeze(1)).sum(-1).masked_fill(used, -1e9)
            chosen = fits.argmax(-1)
            last = x.gather(1, chosen[:, None, None].expand(-1, 1, FEATURES)).squeeze(1)
            return (h, c, last, used | F.one_hot(chosen, x.size(1)).bool()), fits

        used = torch.zeros(x.size(0), x.size(1), dtype=torch.bool)
        return scan(step, (h[0], c[0], x[:, 0], used), torch.arange(x.size(1)), dim=0)[1].transpose(0, 1)


def attended(x, mask):
    """Let each step look at those of its row that a mask (batch, sequence) shows: there may be none."""
    heads = x.unsqueeze(1)
    return F.scaled_dot_product_attention(heads, heads, heads, attn_mask=mask[:, None, None]).squeeze(1)


def clocked(x):
    """Let each feature change at its own period, as in a clockwork RNN."""
    return x * (torch.arange(x.size(1))[:, None] % torch.tensor([1, 2, 4, 8]) == 0)
