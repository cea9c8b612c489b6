"""Translating the stand-ins of `layer_operators` to the ONNX operators RNN, GRU and LSTM.

Where ONNX differs from PyTorch (https://onnx.ai/onnx/operators/onnx__GRU.html and its neighbours):

- gates: GRU is z r h in ONNX and r z n in PyTorch; LSTM is i o f c in ONNX and i f g o in PyTorch;
- GRU: PyTorch multiplies by the reset gate after the recurrent product, which is `linear_before_reset=1`;
- W (directions, gates * hidden, features), R (directions, gates * hidden, hidden) and B (directions, 2 * gates *
  hidden) hold both directions; B holds both biases, bias_ih before bias_hh;
- the first result is (sequence, directions, batch, hidden); `sequence_lens` is int32.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import onnx
from onnxscript import opset20 as op

from rnnserve.export.recurrence import layer_operators
from rnnserve.export.recurrence.packed_values import DATA, FILL, translate_data, translate_fill
from rnnserve.export.recurrence.trim_operator import TRIM, translate_trim

__all__ = ["TRANSLATIONS"]

# PyTorch's gates in ONNX's order: the n-th entry is the position of ONNX's n-th gate in PyTorch's tensors.
_GATES = {"rnn": (0,), "gru": (1, 0, 2), "lstm": (0, 3, 1, 2)}
_ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu"}

_Value: TypeAlias = Any  # an onnx_ir.Value; onnxscript types its operators by what they compute


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
    """Make W, R and B (None without bias) from PyTorch's tensors; `fold_weights` turns them into initializers.

    Args:
        weights: Direction by direction: weight_ih (gates * hidden, features), weight_hh (gates * hidden, hidden) and,
            with bias, bias_ih and bias_hh (gates * hidden,).
        bias: Whether there are biases.
        cell: "rnn", "gru" or "lstm".
    """
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


def _rnn(
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


def _gru(
    input: _Value, lengths: _Value, h_0: _Value, weights: Sequence[_Value], bias: bool, bidirectional: bool
) -> tuple[_Value, _Value]:
    w, r, b = _weights(weights, bias, "gru")
    y, h_n = op.GRU(
        input, w, r, b, _lengths(lengths), h_0, linear_before_reset=1, **_attributes(weights, bidirectional)
    )
    return _output(y, bidirectional), h_n


def _lstm(
    input: _Value, lengths: _Value, h_0: _Value, c_0: _Value, weights: Sequence[_Value], bias: bool, bidirectional: bool
) -> tuple[_Value, _Value, _Value]:
    w, r, b = _weights(weights, bias, "lstm")
    y, h_n, c_n = op.LSTM(input, w, r, b, _lengths(lengths), h_0, c_0, **_attributes(weights, bidirectional))
    return _output(y, bidirectional), h_n, c_n


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    layer_operators.RNN: _rnn,
    layer_operators.GRU: _gru,
    layer_operators.LSTM: _lstm,
    TRIM: translate_trim,
    DATA: translate_data,
    FILL: translate_fill,
}
