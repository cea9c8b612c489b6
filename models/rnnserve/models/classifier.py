"""The direction classifier: a recurrent layer followed by a linear layer on the final hidden state.

It reads `h_n` instead of `output[:, -1]`. The two differ for a bidirectional layer (see `tutorial`), and `output` is
zero after the end of a short sequence.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.utils import rnn as packing  # the module, since the exporter replaces its functions

from rnnserve.models.architecture import Architecture
from rnnserve.models.input_checks import check_inputs

__all__ = ["DirectionClassifier"]


class DirectionClassifier(nn.Module):
    """Classifies sequences by the last layer's final hidden state.

    `DirectionClassifier(cell="lstm")` returns a subclass whose forward also takes `c_0` and returns `c_n`. Both
    subclasses compute in the dtype of their parameters. `torch.jit.script` and `torch.export` take them unchanged.

    The forward for cells rnn and gru, and for cell lstm:

        forward(input, lengths=None, h_0=None) -> (logits, output, h_n)
        forward(input, lengths=None, h_0=None, c_0=None) -> (logits, output, h_n, c_n)

    Args of forward:
        input: Points, (batch, sequence, features), dtype of the parameters.
        lengths: Number of valid points in each row, (batch,) int64, each 1 to sequence. None: all points.
        h_0, c_0: Initial states, (num_layers * directions, batch, hidden), dtype of the parameters. As in PyTorch, the
            batch is the second axis even though input is batch-first. None: zeros.

    Returns of forward:
        logits: (batch, classes), dtype of the parameters, as all outputs.
        output: (batch, sequence, directions * hidden), the last layer's hidden states, with zeros after each row's
            length.
        h_n, c_n: Final states, (num_layers * directions, batch, hidden), each row's at its own last point.

    Raises of forward:
        ShapeError: In eager mode, if a tensor has a wrong rank, size, dtype or range.

    Attributes:
        architecture: The `Architecture` of the constructor's arguments.
        recurrence: `nn.RNN`, `nn.GRU` or `nn.LSTM`, batch-first.
        head: `nn.Linear`, from (batch, directions * hidden) to (batch, classes).
    """

    # TorchScript reads these attributes, because it cannot store the architecture.
    directions: Final[int]
    states: Final[int]
    hidden: Final[int]

    def __new__(cls, *_: Any, cell: str = "rnn", **__: Any) -> "DirectionClassifier":  # noqa: ANN401 (__init__ has them)
        """Create an instance of the subclass for the cell."""
        subclass = (_LSTMClassifier if cell == "lstm" else _HiddenClassifier) if cls is DirectionClassifier else cls
        return super().__new__(subclass)

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
        self.recurrence = _make_recurrence(architecture)
        self.head = nn.Linear(architecture.directions * hidden, classes)

    @classmethod
    def of(cls, architecture: Architecture) -> "DirectionClassifier":
        """Return a classifier with this architecture and random weights from torch's global generator."""
        return cls(
            architecture.features,
            architecture.hidden,
            architecture.classes,
            cell=architecture.cell,
            nonlinearity=architecture.nonlinearity,
            num_layers=architecture.num_layers,
            bidirectional=architecture.bidirectional,
        )

    # Published TorchScript files contain the names of these methods.
    def _lengths(self, input: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is None:
            return torch.full((input.size(0),), input.size(1), dtype=torch.int64)
        return lengths

    def _logits(self, h_n: Tensor) -> Tensor:
        last = h_n[-self.directions :]  # (directions, batch, hidden)
        logits: Tensor = self.head(last.transpose(0, 1).flatten(1))  # (batch, classes)
        return logits


class _HiddenClassifier(DirectionClassifier):
    """The classifier for cells with h as their only state: rnn and gru."""

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
    """The classifier for cell lstm, which also has the cell state c."""

    def forward(
        self, input: Tensor, lengths: Tensor | None = None, h_0: Tensor | None = None, c_0: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            check_inputs(self, input, lengths, h_0=h_0, c_0=c_0)
        # nn.LSTM takes both states or neither, but here each of them may be None.
        zeros = input.new_zeros((self.states, input.size(0), self.hidden))
        states = (zeros if h_0 is None else h_0, zeros if c_0 is None else c_0)
        packed = packing.pack_padded_sequence(
            input, self._lengths(input, lengths), batch_first=True, enforce_sorted=False
        )
        packed_output, (h_n, c_n) = self.recurrence(packed, states)
        output, _ = packing.pad_packed_sequence(packed_output, batch_first=True, total_length=input.size(1))
        return self._logits(h_n), output, h_n, c_n


def _make_recurrence(architecture: Architecture) -> nn.RNNBase:
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
