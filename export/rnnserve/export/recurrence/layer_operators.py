"""One recurrent layer as one operator: it is in the captured program where ONNX will have RNN, GRU or LSTM.

torch has no operator for a single layer with lengths; ONNX has. These three stand for it while a module is captured.
They compute the shapes of their results only: the values come from the ONNX operator. A fourth one trims to the longest
row, as `pad_packed_sequence` without `total_length` does. The size of its result depends on values.

Axes, for all three: `input` (sequence, batch, features); `lengths` (batch,) int64, or None where every row is as long
as the sequence; `h_0` and `c_0` (directions, batch, hidden), or None for zeros; `weights` the layer's tensors in
PyTorch's order and layout, direction by direction: weight_ih, weight_hh and, unless the layer has no bias, bias_ih,
bias_hh. Results: output (sequence, batch, directions * hidden), zero after each row's length; h_n and c_n like h_0.

Where ONNX differs from PyTorch (https://onnx.ai/onnx/operators/onnx__GRU.html and its neighbours):

- gates: GRU is z r h in ONNX and r z n in PyTorch; LSTM is i o f c in ONNX and i f g o in PyTorch;
- GRU: PyTorch multiplies by the reset gate after the recurrent product, which is `linear_before_reset=1`;
- W (directions, gates * hidden, features), R (directions, gates * hidden, hidden) and B (directions, 2 * gates *
  hidden) hold both directions; B holds both biases, bias_ih before bias_hh;
- the first result is (sequence, directions, batch, hidden); `sequence_lens` is int32.
"""

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeAlias

import onnx
import torch
from onnxscript import opset20 as op
from torch import Tensor

__all__ = ["GRU", "LSTM", "RNN", "TRANSLATIONS", "TRIM"]


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


@torch.library.custom_op("rnnserve::trim", mutates_args=())
def _trim(steps: Tensor, lengths: Tensor) -> Tensor:
    """Cut steps (sequence, batch, …) to (max(lengths), batch, …); lengths are (batch,) int64."""
    return steps[: int(lengths.max())].clone()


@_trim.register_fake
def _trim_shapes(steps: Tensor, lengths: Tensor) -> Tensor:
    del lengths
    longest = torch.library.get_ctx().new_dynamic_size(min=1)  # eager refuses empty rows
    return steps.new_empty((longest, *steps.shape[1:]))


RNN = torch.ops.rnnserve.rnn.default
GRU = torch.ops.rnnserve.gru.default
LSTM = torch.ops.rnnserve.lstm.default
TRIM = torch.ops.rnnserve.trim.default

# PyTorch's gates in ONNX's order: the n-th entry is the position of ONNX's n-th gate in PyTorch's tensors.
_GATES = {"rnn": (0,), "gru": (1, 0, 2), "lstm": (0, 3, 1, 2)}
_ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu"}

_Value: TypeAlias = Any  # an onnx_ir._Value; onnxscript types its operators by what they compute


def _reorder(tensor: _Value, cell: str) -> _Value:
    """Put the gates of a weight (gates * hidden, …) or a bias (gates * hidden,) in ONNX's order."""
    gates = len(_GATES[cell])
    if gates == 1:
        return tensor
    rows = int(tensor.shape[0]) // gates
    order = [gate * rows + row for gate in _GATES[cell] for row in range(rows)]
    rows_of_onnx: _Value = op.Constant(value_ints=order)
    return op.Gather(tensor, rows_of_onnx, axis=0)


def _stack(tensors: Sequence[_Value]) -> _Value:
    """Stack one tensor a direction along a new first axis, directions."""
    first: _Value = op.Constant(value_ints=[0])
    return op.Concat(*(op.Unsqueeze(tensor, first) for tensor in tensors), axis=0)


def _weights(weights: Sequence[_Value], bias: bool, cell: str) -> tuple[_Value, _Value, _Value]:
    """Make W, R and B (None without bias) from PyTorch's tensors; `fold_weights` turns them into initializers."""
    each = 4 if bias else 2
    ordered = [_reorder(tensor, cell) for tensor in weights]
    rows = [ordered[start : start + each] for start in range(0, len(ordered), each)]
    w, r = _stack([row[0] for row in rows]), _stack([row[1] for row in rows])
    b = _stack([op.Concat(row[2], row[3], axis=0) for row in rows]) if bias else None
    return w, r, b


def _attributes(weights: Sequence[_Value], bidirectional: bool) -> dict[str, Any]:
    hidden = int(weights[1].shape[1])
    return {"hidden_size": hidden, "direction": "bidirectional" if bidirectional else "forward"}


def _lengths(lengths: _Value) -> _Value:
    return None if lengths is None else op.Cast(lengths, to=onnx.TensorProto.INT32)


def _output(y: _Value, bidirectional: bool) -> _Value:
    """Turn (sequence, directions, batch, hidden) into (sequence, batch, directions * hidden)."""
    if not bidirectional:
        one: _Value = op.Constant(value_ints=[1])
        return op.Squeeze(y, one)
    shape: _Value = op.Constant(value_ints=[0, 0, -1])
    return op.Reshape(op.Transpose(y, perm=[0, 2, 1, 3]), shape)


def _rnn_of_onnx(
    input: _Value,
    lengths: _Value,
    h_0: _Value,
    weights: Sequence[_Value],
    bias: bool,
    bidirectional: bool,
    nonlinearity: str,
) -> tuple[_Value, _Value]:
    w, r, b = _weights(weights, bias, "rnn")
    activations = [_ACTIVATIONS[nonlinearity]] * (1 + bidirectional)
    y, h_n = op.RNN(
        input, w, r, b, _lengths(lengths), h_0, activations=activations, **_attributes(weights, bidirectional)
    )
    return _output(y, bidirectional), h_n


def _gru_of_onnx(
    input: _Value, lengths: _Value, h_0: _Value, weights: Sequence[_Value], bias: bool, bidirectional: bool
) -> tuple[_Value, _Value]:
    w, r, b = _weights(weights, bias, "gru")
    y, h_n = op.GRU(
        input, w, r, b, _lengths(lengths), h_0, linear_before_reset=1, **_attributes(weights, bidirectional)
    )
    return _output(y, bidirectional), h_n


def _lstm_of_onnx(
    input: _Value, lengths: _Value, h_0: _Value, c_0: _Value, weights: Sequence[_Value], bias: bool, bidirectional: bool
) -> tuple[_Value, _Value, _Value]:
    w, r, b = _weights(weights, bias, "lstm")
    y, h_n, c_n = op.LSTM(input, w, r, b, _lengths(lengths), h_0, c_0, **_attributes(weights, bidirectional))
    return _output(y, bidirectional), h_n, c_n


def _trimmed(steps: _Value, lengths: _Value) -> _Value:
    """Translate to Slice(steps, 0, max(lengths)) along the sequence axis."""
    first: _Value = op.Constant(value_ints=[0])
    return op.Slice(steps, first, op.ReduceMax(lengths, first, keepdims=1), first)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    RNN: _rnn_of_onnx,
    GRU: _gru_of_onnx,
    LSTM: _lstm_of_onnx,
    TRIM: _trimmed,
}
