"""`torch.lstm`, `torch.gru`, `torch.rnn_tanh` and `torch.rnn_relu`, called by the user's own code, while capturing.

nn.RNN, nn.GRU and nn.LSTM end in these functions, and so do modules that keep weights of their own (weight dropout,
generated weights). Left alone, they would be unrolled step by step.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.kinds import Argument, Arguments
from rnnserve.export.recurrence.modules import Stack, refuse_dtype, run

__all__ = ["Functional"]

_MODES: dict[Any, str] = {
    torch.rnn_tanh: "RNN_TANH",
    torch.rnn_relu: "RNN_RELU",
    torch.gru: "GRU",
    torch.lstm: "LSTM",
}


class Functional(TorchFunctionMode):
    """Replaces the recurrent functions by stand-ins in this thread."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Argument, args: Arguments = (), kwargs: dict[str, Any] | None = None
    ) -> Argument:
        """Run `func`, or its stand-in."""
        del types
        mode = _MODES.get(func)
        if mode is None:
            return func(*args, **(kwargs or {}))
        return _function(mode, *args, **(kwargs or {}))


def _function(
    mode: str,
    input: Tensor,
    hx: Argument,
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, ...]:
    """The plain form; the packed one has batch_sizes in second place, everything else one later, no `batch_first`."""
    name = f"torch.{mode.lower()}, called by the module's own code,"
    if not isinstance(has_biases, bool):
        raise UnsupportedModule(
            f"{name} works on the fields of a PackedSequence, which ONNX has no form for; call nn.RNN, nn.GRU or "
            "nn.LSTM with the packed sequence"
        )
    if train and dropout and num_layers > 1:
        raise UnsupportedModule(f"{name} has dropout={dropout} that is on; call .eval() on the module before exporting")
    directions = 1 + bidirectional
    if len(params) != num_layers * directions * (4 if has_biases else 2):
        raise UnsupportedModule(
            f"{name} got {len(params)} weights for {num_layers} layers in {directions} directions; expected weight_ih, "
            "weight_hh and the two biases of each. ONNX has no projections (weight_hr)."
        )
    h_0, c_0 = hx if mode == "LSTM" else (hx, None)
    hidden = params[1].shape[1]
    expected = (num_layers * directions, input.shape[0 if batch_first else 1], hidden)
    for state in (h_0,) if c_0 is None else (h_0, c_0):
        if tuple(state.shape) != expected:
            raise UnsupportedModule(
                f"{name} got an initial state {tuple(state.shape)}; expected (layers * directions, batch, hidden) = "
                f"{expected}"
            )
    refuse_dtype(input.dtype, f"{name} got {input.dtype}")
    steps = input.transpose(0, 1) if batch_first else input
    stack = Stack(mode, num_layers, has_biases, bidirectional)
    output, *finals = run(stack, steps, None, h_0, c_0, params)
    return (output.transpose(0, 1) if batch_first else output), *finals
