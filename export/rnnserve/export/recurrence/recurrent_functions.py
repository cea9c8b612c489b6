"""`torch.lstm`, `torch.gru`, `torch.rnn_tanh` and `torch.rnn_relu`, called by the user's own code during a capture.

nn.RNN, nn.GRU and nn.LSTM call these functions, and so do modules that hold weights of their own (weight dropout,
generated weights). torch.export would unroll them step by step.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.argument_types import Argument, Arguments
from rnnserve.export.recurrence.pooling_functions import POOLING
from rnnserve.export.recurrence.recurrent_modules import LayerStack, refuse_dtype, run

__all__ = ["RecurrentFunctionMode"]

_MODES: dict[Any, str] = {
    torch.rnn_tanh: "RNN_TANH",
    torch.rnn_relu: "RNN_RELU",
    torch.gru: "GRU",
    torch.lstm: "LSTM",
}


class RecurrentFunctionMode(TorchFunctionMode):
    """Replaces the recurrent functions by stand-ins in this thread."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Argument, args: Arguments = (), kwargs: dict[str, Any] | None = None
    ) -> Argument:
        """Run `func` or, for a recurrent function, its stand-in; pooling of sequences as that of images."""
        del types
        mode = _MODES.get(func)
        if mode is None:
            return POOLING.get(func, func)(*args, **(kwargs or {}))
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
    """Do what the function does with a plain sequence, with one stand-in a layer.

    The form for packed sequences has `batch_sizes` as its second argument, all others one place later, and no
    `batch_first`; so a `has_biases` that is not a bool means a packed sequence, which is refused.

    Args:
        mode: RNN_TANH, RNN_RELU, GRU or LSTM.
        input: (batch, sequence, features) where `batch_first`, else (sequence, batch, features).
        hx: h_0 (layers * directions, batch, hidden) or, for LSTM, the pair (h_0, c_0).
        params: All layers' weights, in PyTorch's order.
        has_biases: Whether each layer has bias_ih and bias_hh.
        num_layers: Number of layers.
        dropout: Between layers.
        train: Whether dropout is on.
        bidirectional: Whether each layer runs in both directions.
        batch_first: Order of the axes, as in PyTorch.

    Returns:
        output, in the form of the input, h_n like h_0 and, for LSTM, c_n like c_0.

    Raises:
        UnsupportedModule: If the arguments have no ONNX form or would be refused by eager.
    """
    name = f"torch.{mode.lower()}, called by the module's own code,"
    if not isinstance(has_biases, bool):
        raise UnsupportedModule(
            f"{name} works on the fields of a PackedSequence, which ONNX has no form for; call nn.RNN, nn.GRU or "
            "nn.LSTM with the packed sequence"
        )
    if train and dropout and num_layers > 1:
        raise UnsupportedModule(f"{name} has dropout={dropout} that is on; call .eval() on the module before exporting")
    directions = 1 + bidirectional
    plain = LayerStack(mode, num_layers, has_biases, bidirectional)
    stacks = [plain, dataclasses.replace(plain, projected=True)] if mode == "LSTM" else [plain]
    stack = next((stack for stack in stacks if len(params) == num_layers * stack.weights), None)
    if stack is None:
        raise UnsupportedModule(
            f"{name} got {len(params)} weights for {num_layers} layers in {directions} directions; expected weight_ih, "
            "weight_hh, the two biases and, for an LSTM with projections, weight_hr of each"
        )
    h_0, c_0 = hx if mode == "LSTM" else (hx, None)
    batch = input.shape[0 if batch_first else 1]
    # weight_hh is (gates * hidden, hidden or proj_size); only LSTM, which has four gates, has c_0.
    for label, state, size in (("h_0", h_0, params[1].shape[1]), ("c_0", c_0, params[1].shape[0] // 4)):
        expected = (num_layers * directions, batch, size)
        if state is not None and tuple(state.shape) != expected:
            raise UnsupportedModule(
                f"{name} got {label} {tuple(state.shape)}; expected (layers * directions, batch, hidden) = {expected}"
            )
    refuse_dtype(input.dtype, f"{name} got {input.dtype}")
    steps = input.transpose(0, 1) if batch_first else input
    output, *finals = run(stack, steps, None, h_0, c_0, params)
    return (output.transpose(0, 1) if batch_first else output), *finals
