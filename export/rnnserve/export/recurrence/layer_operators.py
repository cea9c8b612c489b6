"""Operators that stand for whole recurrent layers in the captured program, until ONNX's RNN, GRU and LSTM replace them.

Three operators represent layers during a capture and only compute the shapes of their results. A fourth trims to the
longest row, as `pad_packed_sequence` without `total_length` does. Its result's size depends on values.

The three operators have the same arguments:

- `input` (sequence, batch, features)
- `lengths` (batch,) int64, or None if every row is as long as the sequence
- `h_0` and `c_0` (directions, batch, hidden), or None for zeros
- `weights`, the layer's tensors in PyTorch's order and layout, direction by direction: weight_ih, weight_hh and, if the
  layer has a bias, bias_ih and bias_hh

They return the output (sequence, batch, directions * hidden), zero after each row's length, and h_n and c_n like h_0.

ONNX differs from PyTorch as follows (https://onnx.ai/onnx/operators/onnx__GRU.html and its neighbors):

- Gates: GRU is z r h in ONNX and r z n in PyTorch, LSTM is i o f c in ONNX and i f g o in PyTorch.
- GRU: PyTorch multiplies by the reset gate after the recurrent product. In ONNX this is `linear_before_reset=1`.
- W (directions, gates * hidden, features), R (directions, gates * hidden, hidden) and B (directions, 2 * gates *
  hidden) contain both directions. B contains both biases, bias_ih before bias_hh.
- The first result is (sequence, directions, batch, hidden), and `sequence_lens` is int32.
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
    raise RuntimeError("the recurrent layers of a captured program cannot run in PyTorch; run the ONNX program")


def _shapes(input: Tensor, lengths: Tensor | None, *states_weights_and_settings: Any) -> tuple[Tensor, ...]:  # noqa: ANN401
    """Return the output and as many final states as there are initial states, without values."""
    del lengths
    at = next(number for number, each in enumerate(states_weights_and_settings) if isinstance(each, list | tuple))
    weights, _, bidirectional = states_weights_and_settings[at : at + 3]
    directions, hidden = 1 + bidirectional, weights[1].shape[1]
    output = input.new_empty((input.shape[0], input.shape[1], directions * hidden))
    return output, *(input.new_empty((directions, input.shape[1], hidden)) for _ in range(at))


def _operator(name: str, states: str, more: str, results: str) -> Any:  # noqa: ANN401 - an operator of torch
    """Define an operator. A second definition, for example when this module is reloaded, replaces the first."""
    schema = f"(Tensor input, Tensor? lengths, {states}, Tensor[] weights, bool bias, bool bidirectional{more})"
    made = torch.library.custom_op(
        f"rnnserve::{name}", _has_no_values, mutates_args=(), schema=f"{schema} -> ({results})"
    )
    made.register_fake(_shapes)
    return getattr(torch.ops.rnnserve, name).default


RNN = _operator("rnn", "Tensor? h_0", ", str nonlinearity", "Tensor, Tensor")
GRU = _operator("gru", "Tensor? h_0", "", "Tensor, Tensor")
LSTM = _operator("lstm", "Tensor? h_0, Tensor? c_0", "", "Tensor, Tensor, Tensor")


@torch.library.custom_op("rnnserve::trim", mutates_args=())
def _trim(steps: Tensor, lengths: Tensor) -> Tensor:
    """Cut steps (sequence, batch, …) to (max(lengths), batch, …). Lengths are (batch,) int64."""
    return steps[: int(lengths.max())].clone()


@_trim.register_fake
def _trim_shapes(steps: Tensor, lengths: Tensor) -> Tensor:
    del lengths
    longest = torch.library.get_ctx().new_dynamic_size(min=1)  # eager refuses empty rows
    return steps.new_empty((longest, *steps.shape[1:]))


TRIM = torch.ops.rnnserve.trim.default

# PyTorch's gates in ONNX's order: entry n is the position of ONNX's gate n in PyTorch's tensors.
_GATES = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2)}
_ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu"}

_Value: TypeAlias = Any  # an onnx_ir.Value: onnxscript annotates operators with their result types


def _reorder(tensor: _Value, cell: str) -> _Value:
    """Put the gates of a weight (gates * hidden, …) or a bias (gates * hidden,) in ONNX's order."""
    gates = _GATES[cell]
    if len(gates) == 1:
        return tensor
    rows = int(tensor.shape[0]) // len(gates)
    rows_of_onnx: _Value = op.Constant(value_ints=[gate * rows + row for gate in gates for row in range(rows)])
    return op.Gather(tensor, rows_of_onnx, axis=0)


def _stack(tensors: Sequence[_Value]) -> _Value:
    """Stack the tensors of all directions along a new first axis, directions."""
    first: _Value = op.Constant(value_ints=[0])
    return op.Concat(*(op.Unsqueeze(tensor, first) for tensor in tensors), axis=0)


def _layer(
    cell: str,
    input: _Value,
    lengths: _Value,
    states: Sequence[_Value],
    weights: Sequence[_Value],
    bias: bool,
    bidirectional: bool,
    **attributes: Any,  # noqa: ANN401 - of the operator
) -> tuple[_Value, ...]:
    """Translate a layer: build W, R and B (None without bias) from PyTorch's tensors. `fold_weights` folds them."""
    each = 4 if bias else 2
    ordered = [_reorder(tensor, cell) for tensor in weights]
    rows = [ordered[start : start + each] for start in range(0, len(ordered), each)]
    w, r = _stack([row[0] for row in rows]), _stack([row[1] for row in rows])
    b = _stack([op.Concat(row[2], row[3], axis=0) for row in rows]) if bias else None
    y, *finals = getattr(op, cell)(
        *(input, w, r, b, None if lengths is None else op.Cast(lengths, to=onnx.TensorProto.INT32), *states),
        **attributes,
        hidden_size=int(weights[1].shape[1]),
        direction="bidirectional" if bidirectional else "forward",
    )
    # (sequence, directions, batch, hidden) becomes (sequence, batch, directions * hidden)
    if bidirectional:
        shape: _Value = op.Constant(value_ints=[0, 0, -1])
        return op.Reshape(op.Transpose(y, perm=[0, 2, 1, 3]), shape), *finals
    one: _Value = op.Constant(value_ints=[1])
    return op.Squeeze(y, one), *finals


def _rnn_of_onnx(
    input: _Value,
    lengths: _Value,
    h_0: _Value,
    weights: Sequence[_Value],
    bias: bool,
    bidirectional: bool,
    nonlinearity: str,
) -> tuple[_Value, ...]:
    activations = [_ACTIVATIONS[nonlinearity]] * (1 + bidirectional)
    return _layer("RNN", input, lengths, [h_0], weights, bias, bidirectional, activations=activations)


def _gru_of_onnx(
    input: _Value, lengths: _Value, h_0: _Value, weights: Sequence[_Value], bias: bool, bidirectional: bool
) -> tuple[_Value, ...]:
    return _layer("GRU", input, lengths, [h_0], weights, bias, bidirectional, linear_before_reset=1)


def _lstm_of_onnx(
    input: _Value, lengths: _Value, h_0: _Value, c_0: _Value, weights: Sequence[_Value], bias: bool, bidirectional: bool
) -> tuple[_Value, ...]:
    return _layer("LSTM", input, lengths, [h_0, c_0], weights, bias, bidirectional)


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
