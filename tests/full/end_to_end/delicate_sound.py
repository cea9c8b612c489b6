"""Layers of users of RNNs that take sound: its spectrum, its loudness, its samples."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from full.end_to_end.delicate_layers import FEATURES, HIDDEN

__all__ = ["Companded", "ConvolvedSound", "Loudness", "running_score"]


class Loudness(nn.Module):
    """Per-channel energy normalisation (Wang et al., 2017) over a running mean, and a recurrent layer."""

    def __init__(self):
        super().__init__()
        self.exponent, self.offset = nn.Parameter(torch.full((FEATURES,), 0.98)), nn.Parameter(torch.full((4,), 2.0))
        self.cell = nn.GRU(FEATURES, HIDDEN, batch_first=True)

    def forward(self, x):
        energy = x.abs()
        mean = energy.cumsum(1) / torch.arange(1, x.size(1) + 1, dtype=x.dtype)[:, None]
        return self.cell(torch.sqrt(energy / (1e-6 + mean) ** self.exponent + self.offset) - self.offset**0.5)[0]


class Companded(nn.Module):
    """Samples to the 256 ids of mu-law, which it gives as well."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(256, FEATURES)
        self.cell = nn.LSTM(FEATURES, HIDDEN, batch_first=True)

    def forward(self, x):
        y = torch.sign(x) * torch.log1p(255 * x.abs().clamp(max=1)) / np.log(256.0)
        ids = ((y + 1) / 2 * 255 + 0.5).to(torch.int64)
        return ids, self.cell(self.embedding(ids).mean(2))[0]


def running_score(x: torch.Tensor) -> torch.Tensor:
    """Each step less the mean of the steps until then, over their standard deviation."""
    count = torch.arange(1, x.size(1) + 1, dtype=x.dtype)[:, None]
    mean = x.cumsum(1) / count
    return (x - mean) / torch.sqrt(((x * x).cumsum(1) / count - mean * mean).clamp(min=0) + 1e-8)


class ConvolvedSound(nn.Module):
    """Convolutions of stride 20 and 16 on raw audio, padded, and a GRU: a step for 320 samples, as in wav2vec."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(1, FEATURES, 40, stride=20, padding=3)
        self.second = nn.Conv1d(FEATURES, FEATURES, 32, stride=16, padding=5)
        self.gru = nn.GRU(FEATURES, HIDDEN, batch_first=True)

    def forward(self, x):  # (batch, samples)
        frames = self.second(F.gelu(self.first(x.unsqueeze(1))))
        return self.gru(frames.transpose(1, 2))[0]  # (batch, frames, hidden)
