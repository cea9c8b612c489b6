"""The direction classifier: a recurrent layer read at its final hidden state.

It reads `h_n`, never `output[:, -1]`: for a bidirectional layer the two are not the same (see `tutorial`), and behind
the end of a short sequence `output` holds zeros.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.utils import rnn as packing  # not by name: an exporter replaces the functions on the module

from rnnserve.models.architecture import Architecture
from rnnserve.models.checks import check_inputs

__all__ = ["DirectionClassifier"]


class DirectionClassifier(nn.Module):
    """Classifies sequences by the last layer's final hidden state.

    `DirectionClassifier(cell="lstm")` makes the LSTM's form of it, whose forward also takes `c_0` and gives `c_n`. Both
    forms run in the dtype of their parameters, and are scriptable by `torch.jit.script` and exportable by
    `torch.export` as they are.

    The forward of cells rnn and gru, and of lstm:

        forward(input, lengths=None, h_0=None) -> (logits, output, h_n)
        forward(input, lengths=None, h_0=None, c_0=None) -> (logits, output, h_n, c_n)

    Args of forward:
        input: (batch, sequence, features), dtype of the parameters.
        lengths: (batch,) int64, each 1 to sequence: how many points of each row count. None: all of them.
        h_0, c_0: (num_layers * directions, batch, hidden), as PyTorch orders states even where input is batch-first.
            None: zeros.

    Returns of forward:
        logits: (batch, classes).
        output: (batch, sequence, directions * hidden), the last layer's states, zeros behind each row's length.
        h_n, c_n: (num_layers * directions, batch, hidden), each row's states at its own last point.

    Raises of forward:
        ShapeError: in eager mode, a tensor of the wrong rank, size, dtype or range.

    Attributes:
        architecture: the `Architecture` that the arguments make.
        recurrence: `nn.RNN`, `nn.GRU` or `nn.LSTM`, batch-first.
        head: `nn.Linear`, from (batch, directions * hidden) to (batch, classes).
    """

    # What scripted code reads; a script cannot hold the architecture itself.
    directions: Final[int]
    states: Final[int]
    hidden: Final[int]

    def __new__(cls, *_: Any, cell: str = "rnn", **__: Any) -> "DirectionClassifier":  # noqa: ANN401 (__init__ has them)
        """Choose the form that fits the cell."""
        form = (_LSTMClassifier if cell == "lstm" else _HiddenClassifier) if cls is DirectionClassifier else cls
        return super().__new__(form)

    def __init__(
        self,
        features: int = 2,
        hidden: int = 16,
        classes: int = 2,
        *,
        cell: str = "rnn",
        nonlinearity: str = "tanh",
        num_layers: int = 1,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        architecture = Architecture(cell, nonlinearity, num_layers, bidirectional, features, hidden, classes)
        self.architecture = architecture
        self.directions = architecture.directions
        self.states = architecture.states
        self.hidden = hidden
        self.recurrence = _recurrence(architecture)
        self.head = nn.Linear(architecture.directions * hidden, classes)

    @classmethod
    def of(cls, architecture: Architecture) -> "DirectionClassifier":
        """Make the classifier of an architecture, with random weights (from torch's global generator)."""
        return cls(
            architecture.features,
            architecture.hidden,
            architecture.classes,
            cell=architecture.cell,
            nonlinearity=architecture.nonlinearity,
            num_layers=architecture.num_layers,
            bidirectional=architecture.bidirectional,
        )

    def _lengths(self, input: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is None:
            return torch.full((input.size(0),), input.size(1), dtype=torch.int64)
        return lengths

    def _logits(self, h_n: Tensor) -> Tensor:
        last = h_n[-self.directions :]  # (directions, batch, hidden)
        logits: Tensor = self.head(last.transpose(0, 1).flatten(1))
        return logits


class _HiddenClassifier(DirectionClassifier):
    """The form for cells whose only state is h: rnn and gru."""

    def forward(
        self, input: Tensor, lengths: Tensor | None = None, h_0: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            check_inputs(self, input, lengths, h_0=h_0)
        packed = packing.pack_padded_sequence(
            input, self._lengths(input, lengths), batch_first=True, enforce_sorted=False
        )
        packed_output, h_n = self.recurrence(packed, h_0)
        output, _ = packing.pad_packed_sequence(packed_output, batch_first=True, total_length=input.size(1))
        return self._logits(h_n), output, h_n


class _LSTMClassifier(DirectionClassifier):
    """The form for the lstm, which also has a cell state c."""

    def forward(
        self, input: Tensor, lengths: Tensor | None = None, h_0: Tensor | None = None, c_0: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            check_inputs(self, input, lengths, h_0=h_0, c_0=c_0)
        # nn.LSTM takes both states or neither; here each may be left out on its own.
        zeros = input.new_zeros((self.states, input.size(0), self.hidden))
        states = (zeros if h_0 is None else h_0, zeros if c_0 is None else c_0)
        packed = packing.pack_padded_sequence(
            input, self._lengths(input, lengths), batch_first=True, enforce_sorted=False
        )
        packed_output, (h_n, c_n) = self.recurrence(packed, states)
        output, _ = packing.pad_packed_sequence(packed_output, batch_first=True, total_length=input.size(1))
        return self._logits(h_n), output, h_n, c_n


def _recurrence(architecture: Architecture) -> nn.RNNBase:
    sizes = (architecture.features, architecture.hidden, architecture.num_layers)
    if architecture.cell == "lstm":
        return nn.LSTM(*sizes, batch_first=True, bidirectional=architecture.bidirectional)
    if architecture.cell == "gru":
        return nn.GRU(*sizes, batch_first=True, bidirectional=architecture.bidirectional)
    return nn.RNN(
        *sizes,
        nonlinearity=architecture.nonlinearity,
        batch_first=True,
        bidirectional=architecture.bidirectional,
    )
