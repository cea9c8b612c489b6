"""nn.RNN, nn.GRU and nn.LSTM during a capture: the checks of PyTorch, and one stand-in for each layer.

LSTM with projections (`proj_size`) is a scan, since ONNX's LSTM operator has none. The hidden state of each step is
multiplied by weight_hr before the next step reads it (https://arxiv.org/abs/1402.1128). Such a layer also equals an
LSTM operator with the recurrent weight `weight_hh @ weight_hr`. That has up to hidden / proj_size times the weights to
read in each step, and rounds in another order than eager.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence import capture_session, layer_operators
from rnnserve.export.recurrence.dynamic_axes import Argument
from rnnserve.export.recurrence.packing import Padded
from rnnserve.export.recurrence.scan import scan
from rnnserve.export.torch_adapter import weight_names

__all__ = ["LayerStack", "forward", "refuse_dtype", "run"]


@dataclasses.dataclass(frozen=True)
class LayerStack:
    """A stack of recurrent layers, as PyTorch describes one."""

    mode: str  # RNN_TANH, RNN_RELU, GRU or LSTM
    num_layers: int  # how many layers
    bias: bool  # whether each has bias_ih and bias_hh
    bidirectional: bool  # whether each runs in both directions
    projected: bool = False  # whether each has projections (`proj_size`), which LSTM only has

    @property
    def weights(self) -> int:
        """How many tensors each layer has."""
        return (1 + self.bidirectional) * (2 + 2 * self.bias + self.projected)


def run(
    stack: LayerStack,
    steps: Tensor,
    lengths: Tensor | None,
    h_0: Tensor | None,
    c_0: Tensor | None,
    weights: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """Put one stand-in per layer into the captured program; a scan for each direction of a layer with projections."""
    directions = 1 + stack.bidirectional
    each = stack.weights
    finals: list[tuple[Tensor, ...]] = []
    for number in range(stack.num_layers):
        rows = slice(number * directions, (number + 1) * directions)
        own = list(weights[number * each : (number + 1) * each])
        h, c = (None if state is None else _rows(state, rows, stack.num_layers) for state in (h_0, c_0))
        steps, *final = _layer(stack, steps, lengths, h, c, own)
        finals.append(tuple(final))
    states = (per_layer[0] if len(per_layer) == 1 else torch.cat(per_layer) for per_layer in zip(*finals, strict=True))
    return steps, *states


def _rows(state: Tensor, rows: slice, num_layers: int) -> Tensor:
    return state if num_layers == 1 else state[rows]


def _layer(
    stack: LayerStack, steps: Tensor, lengths: Tensor | None, h: Tensor | None, c: Tensor | None, weights: list[Tensor]
) -> tuple[Tensor, ...]:
    if stack.projected:
        return _projected_lstm(steps, lengths, h, c, weights, stack.bidirectional)
    if stack.mode == "LSTM":
        return tuple(layer_operators.LSTM(steps, lengths, h, c, weights, stack.bias, stack.bidirectional))
    if stack.mode == "GRU":
        return tuple(layer_operators.GRU(steps, lengths, h, weights, stack.bias, stack.bidirectional))
    nonlinearity = {"RNN_TANH": "tanh", "RNN_RELU": "relu"}[stack.mode]
    return tuple(layer_operators.RNN(steps, lengths, h, weights, stack.bias, stack.bidirectional, nonlinearity))


def _projected_lstm(
    steps: Tensor,
    lengths: Tensor | None,
    h_0: Tensor | None,
    c_0: Tensor | None,
    weights: Sequence[Tensor],
    bidirectional: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute one layer, as PyTorch does."""
    directions = 1 + bidirectional
    each = len(weights) // directions
    inside = None
    if lengths is not None:
        numbers = torch.arange(steps.shape[0], device=steps.device)
        inside = numbers.unsqueeze(1) < lengths.to(steps.device).unsqueeze(0)  # (sequence, batch)
    outputs, hs, cs = [], [], []
    for number in range(directions):
        own = weights[number * each : (number + 1) * each]
        zeros = [steps.new_zeros(steps.shape[1], own[-1].shape[axis]) for axis in (0, 1)]
        h, c = (zero if state is None else state[number] for state, zero in zip((h_0, c_0), zeros, strict=True))
        output, h, c = _direction(steps, inside, h, c, own, reverse=number == 1)
        outputs.append(output)
        hs.append(h)
        cs.append(c)
    return torch.cat(outputs, dim=2), torch.stack(hs), torch.stack(cs)


def _direction(
    steps: Tensor, inside: Tensor | None, h: Tensor, c: Tensor, weights: Sequence[Tensor], *, reverse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute one direction of a layer."""
    weight_ih, weight_hh, *biases, weight_hr = weights
    bias_ih, bias_hh = biases or (None, None)

    def step(state: tuple[Tensor, Tensor], x: tuple[Tensor, ...]) -> tuple[tuple[Tensor, Tensor], Tensor]:
        h, c = state
        gates = functional.linear(h, weight_hh, bias_hh) + x[0]
        i, f, g, o = gates.chunk(4, dim=1)
        c_after = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h_after = functional.linear(torch.sigmoid(o) * torch.tanh(c_after), weight_hr)
        if inside is None:
            return (h_after, c_after), h_after
        here = x[1].unsqueeze(1)
        # Reversed, a row's first steps are padding: it keeps its initial state until its last step.
        kept = torch.where(here, h_after, h), torch.where(here, c_after, c)
        return kept, torch.where(here, h_after, torch.zeros_like(h_after))

    gates = functional.linear(steps, weight_ih, bias_ih)
    (h, c), output = scan(step, (h, c), (gates,) if inside is None else (gates, inside), reverse=reverse)
    return output, h, c


def forward(module: nn.RNNBase, input: Argument, hx: Argument = None) -> tuple[Argument, Argument]:
    """Do what the forward of nn.RNN, nn.GRU and nn.LSTM does, with stand-ins."""
    name = capture_session.current().name(module)
    _refuse_settings(module, name)
    packed = Padded.of(input, name) if isinstance(input, PackedSequence) else None
    if packed is not None:
        steps = packed.steps
    else:
        _check_plain(module, input, name)
        steps = input.transpose(0, 1) if module.batch_first else input
    _check_features(module, steps, name)
    h_0, c_0 = _states(module, hx, steps.shape[1], name)
    stack = LayerStack(module.mode, module.num_layers, module.bias, module.bidirectional, module.proj_size > 0)
    # getattr instead of _flat_weights: parametrisations compute the weight when it is read, as in eager.
    weights = [getattr(module, weight) for weight in weight_names(module)]
    lengths = None if packed is None else packed.row_lengths
    output, *finals = run(stack, steps, lengths, h_0, c_0, weights)
    if packed is not None:
        result: Any = packed.with_steps(output, zero_padded=True).packed()
    else:
        result = output.transpose(0, 1) if module.batch_first else output
    return result, tuple(finals) if module.mode == "LSTM" else finals[0]


def _refuse_settings(module: nn.RNNBase, name: str) -> None:
    if module.training and module.dropout and module.num_layers > 1:
        raise UnsupportedModule(
            f"{name} is in training mode with dropout={module.dropout} between its layers, which draws random numbers. "
            "Call .eval() on the module before exporting it."
        )
    dtype = getattr(module, weight_names(module)[0]).dtype
    refuse_dtype(dtype, f"{name} holds {dtype}")


def refuse_dtype(dtype: torch.dtype, what: str) -> None:
    """Refuse recurrent layers of a dtype that onnxruntime cannot run.

    float16 is computed in float32 (`float16`), which is more exact. float64 would be less exact, and neither
    onnxruntime nor ONNX's operators of opset 20 have bfloat16.
    """
    if dtype not in (torch.float32, torch.float16):
        raise UnsupportedModule(
            f"{what}; onnxruntime runs recurrent operators in float32 and float16 only. Convert the module before "
            "exporting it: module.float()."
        )


def _axes(module: nn.RNNBase) -> str:
    return "(batch, sequence, features)" if module.batch_first else "(sequence, batch, features)"


def _check_plain(module: nn.RNNBase, input: Argument, name: str) -> None:
    if not isinstance(input, Tensor):
        raise UnsupportedModule(f"{name} got a {type(input).__name__}; expected a tensor {_axes(module)}")
    if input.dim() != 3:
        unbatched = " An unbatched input has to be given its batch axis: unsqueeze it." if input.dim() == 2 else ""
        raise UnsupportedModule(
            f"{name} got an input of {input.dim()} axes, {tuple(input.shape)}; expected the three axes "
            f"{_axes(module)}.{unbatched}"
        )


def _check_features(module: nn.RNNBase, steps: Tensor, name: str) -> None:
    if steps.shape[-1] != module.input_size or steps.dim() != 3:
        raise UnsupportedModule(
            f"{name} got an input of {steps.dim()} axes with {steps.shape[-1]} features; expected {_axes(module)} with "
            f"{module.input_size} features. Are features the last axis?"
        )
    weight = getattr(module, weight_names(module)[0])
    if steps.dtype != weight.dtype:
        raise UnsupportedModule(f"{name} got an input of {steps.dtype}; its weights are {weight.dtype}")


def _states(module: nn.RNNBase, hx: Argument, batch: int, name: str) -> tuple[Tensor | None, Tensor | None]:
    if hx is None:
        return None, None
    if module.mode != "LSTM":
        _check_state(module, "h_0", hx, batch, name)
        return hx, None
    if isinstance(hx, Tensor) or len(hx) != 2:
        raise UnsupportedModule(f"{name} got {type(hx).__name__} for its initial state; expected the pair (h_0, c_0)")
    for state, tensor in zip(("h_0", "c_0"), hx, strict=True):
        _check_state(module, state, tensor, batch, name)
    return hx[0], hx[1]


def _check_state(module: nn.RNNBase, state: str, tensor: Argument, batch: int, name: str) -> None:
    rows = module.num_layers * (1 + module.bidirectional)
    projected = module.proj_size > 0 and state == "h_0"
    expected = (rows, batch, module.proj_size if projected else module.hidden_size)
    if not isinstance(tensor, Tensor) or tensor.dim() != 3 or tuple(tensor.shape) != expected:
        got = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        raise UnsupportedModule(
            f"{name} got {state} {got}; expected (layers * directions, batch, "
            f"{'proj_size' if projected else 'hidden'}) = {expected}, also where the input is batch-first"
        )
    dtype = getattr(module, weight_names(module)[0]).dtype
    if tensor.dtype != dtype:
        raise UnsupportedModule(f"{name} got {state} of {tensor.dtype}; its weights are {dtype}")
