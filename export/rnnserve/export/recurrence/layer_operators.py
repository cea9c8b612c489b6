"""One recurrent layer as one operator: it is in the captured program where ONNX will have RNN, GRU or LSTM.

torch has no operator for a single layer with lengths; ONNX has. These three stand for it while a module is captured.
They compute the shapes of their results only: the values come from the ONNX operator.

Axes, for all three: `input` (sequence, batch, features); `lengths` (batch,) int64, or None where every row is as long
as the sequence; `h_0` and `c_0` (directions, batch, hidden), or None for zeros; `weights` the layer's tensors in
PyTorch's order and layout, direction by direction: weight_ih, weight_hh and, unless the layer has no bias, bias_ih,
bias_hh. Results: output (sequence, batch, directions * hidden), zero after each row's length; h_n and c_n like h_0.
"""

from collections.abc import Sequence
from typing import NoReturn

import torch
from torch import Tensor

__all__ = ["GRU", "LSTM", "RNN"]


def _has_no_values(*arguments: object) -> NoReturn:
    del arguments
    raise RuntimeError("a recurrent layer of a captured program computes no values: run the ONNX program")


# Defining an operator again, for example by reloading this module, replaces it.
_rnn = torch.library.custom_op(
    "rnnserve::rnn",
    _has_no_values,
    mutates_args=(),
    schema="(Tensor input, Tensor? lengths, Tensor? h_0, Tensor[] weights, bool bias, bool bidirectional, "
    "str nonlinearity) -> (Tensor, Tensor)",
)
_gru = torch.library.custom_op(
    "rnnserve::gru",
    _has_no_values,
    mutates_args=(),
    schema="(Tensor input, Tensor? lengths, Tensor? h_0, Tensor[] weights, bool bias, bool bidirectional) "
    "-> (Tensor, Tensor)",
)
_lstm = torch.library.custom_op(
    "rnnserve::lstm",
    _has_no_values,
    mutates_args=(),
    schema="(Tensor input, Tensor? lengths, Tensor? h_0, Tensor? c_0, Tensor[] weights, bool bias, "
    "bool bidirectional) -> (Tensor, Tensor, Tensor)",
)


def _shapes(input: Tensor, weights: Sequence[Tensor], bidirectional: bool) -> tuple[Tensor, Tensor]:
    directions, hidden = 1 + bidirectional, weights[1].shape[1]
    output = input.new_empty((input.shape[0], input.shape[1], directions * hidden))
    return output, input.new_empty((directions, input.shape[1], hidden))


@_rnn.register_fake
@_gru.register_fake
def _two(
    input: Tensor,
    lengths: Tensor | None,
    h_0: Tensor | None,
    weights: Sequence[Tensor],
    bias: bool,
    bidirectional: bool,
    nonlinearity: str = "",
) -> tuple[Tensor, Tensor]:
    del lengths, h_0, bias, nonlinearity
    return _shapes(input, weights, bidirectional)


@_lstm.register_fake
def _three(
    input: Tensor,
    lengths: Tensor | None,
    h_0: Tensor | None,
    c_0: Tensor | None,
    weights: Sequence[Tensor],
    bias: bool,
    bidirectional: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    del lengths, h_0, c_0, bias
    output, h_n = _shapes(input, weights, bidirectional)
    return output, h_n, torch.empty_like(h_n)


RNN = torch.ops.rnnserve.rnn.default
GRU = torch.ops.rnnserve.gru.default
LSTM = torch.ops.rnnserve.lstm.default
