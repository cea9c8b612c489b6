"""Modules that check values as packages do. They stand apart: pytest gives `assert` other code in tests."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

__all__ = ["Checking", "CheckingInALoop"]


def refuse_empty(lengths: Tensor) -> None:
    if int(lengths.min()) < 1:
        raise ValueError("a row has no steps")


class Checking(nn.Module):
    """Checks its lengths in the ways that packages do."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        assert lengths.min() > 0, "rows have a step at least"
        assert lengths.dim() == 1
        torch._assert((lengths > 0).all(), "rows have a step at least")
        refuse_empty(lengths)
        if lengths.max().item() > x.size(1):
            raise ValueError("too long")
        return self.gru(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))[1][0]


class CheckingInALoop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(3, 4)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), 4)
        for t in range(x.size(1)):
            assert not torch.isnan(h).any()
            h = torch.where((t < lengths).unsqueeze(1), self.cell(x[:, t], h), h)
        return h
