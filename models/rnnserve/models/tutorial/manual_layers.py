"""Stacked and bidirectional recurrent modules, split into modules of one layer or direction and joined manually.

The functions take any `nn.RNN`, `nn.GRU` or `nn.LSTM` without projections, and copy its weights. The original module
returns the same results.
"""

from typing import cast

import torch
from torch import Tensor, nn

from rnnserve.models.errors import ArchitectureError

__all__ = ["ManuallyBidirectional", "ManuallyStacked", "manually_bidirectional", "manually_stacked", "run_cell"]

# A hidden state, (num_layers * directions, batch, hidden), or the LSTM's pair of hidden state and cell state.
State = Tensor | tuple[Tensor, Tensor]


def run_cell(cell: nn.RNNCell, input: Tensor, h_0: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Run a cell on one point after another. Each step starts from the previous hidden state.

    Args:
        cell: The cell, which computes one step of a recurrence.
        input: Points, (sequence, batch, features). All tensors have the dtype of the cell's parameters.
        h_0: Initial hidden state, (batch, hidden). None: zeros.

    Returns:
        output: Hidden state after each point, (sequence, batch, hidden).
        h_n: Hidden state after the last point, (batch, hidden).
    """
    h = input.new_zeros(input.size(1), cell.hidden_size) if h_0 is None else h_0
    states = []
    for point in input:  # (batch, features)
        h = cell(point, h)
        states.append(h)
    return torch.stack(states), h


class ManuallyStacked(nn.Module):
    """A stack of layers, each of which reads the output of the layer below.

    Attributes:
        layers: Recurrent modules of one layer each.
    """

    def __init__(self, layers: list[nn.RNNBase]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, input: Tensor, h_0: State | None = None) -> tuple[Tensor, State]:
        """Run all layers. The original module returns the same result.

        Args:
            input: Points, (batch, sequence, features), or (sequence, batch, features) if the layers are not
                batch-first. All tensors have the dtype of the parameters.
            h_0: Initial states, (num_layers * directions, batch, hidden), for an LSTM a pair of them. None: zeros.

        Returns:
            output: The last layer's hidden states, (batch, sequence, directions * hidden) or sequence-first.
            h_n: Final states of all layers, with the shape of h_0.
        """
        finals: list[State] = []
        for index, layer in enumerate(self.layers):
            directions = 2 if layer.bidirectional else 1
            state = None if h_0 is None else _slice_state(h_0, index * directions, directions)
            input, final = layer(input, state)
            finals.append(final)
        return input, _join_states(finals)


class ManuallyBidirectional(nn.Module):
    """Two recurrent modules of one layer and one direction: one reads the sequence, the other its reverse.

    Attributes:
        forwards: The module that reads from the first point to the last.
        backwards: The module that reads from the last point to the first.
    """

    def __init__(self, forwards: nn.RNNBase, backwards: nn.RNNBase) -> None:
        super().__init__()
        self.forwards = forwards
        self.backwards = backwards

    def forward(self, input: Tensor, h_0: State | None = None) -> tuple[Tensor, State]:
        """Run both directions. The original module returns the same result.

        Args:
            input: Points, (batch, sequence, features), or (sequence, batch, features) if the modules are not
                batch-first. All tensors have the dtype of the parameters.
            h_0: Initial states, (directions, batch, hidden) with 2 directions, for an LSTM a pair of them. None: zeros.

        Returns:
            output: Both directions' hidden states, aligned to the sequence and joined along the last axis, (batch,
                sequence, 2 * hidden) or sequence-first.
            h_n: Final states, with the shape of h_0: forwards after the last point, backwards after the first point.
        """
        sequence = 1 if self.forwards.batch_first else 0
        first, second = (None, None) if h_0 is None else (_slice_state(h_0, 0, 1), _slice_state(h_0, 1, 1))
        output, h = self.forwards(input, first)
        output_reversed, h_reversed = self.backwards(input.flip(sequence), second)
        return torch.cat([output, output_reversed.flip(sequence)], dim=2), _join_states([h, h_reversed])


def manually_stacked(recurrent: nn.RNNBase) -> ManuallyStacked:
    """Split a stacked module into one module for each layer. Layers of a bidirectional module stay bidirectional.

    Raises:
        ArchitectureError: If the module has projections, or isn't an `nn.RNN`, `nn.GRU` or `nn.LSTM`.
    """
    width = recurrent.hidden_size * (2 if recurrent.bidirectional else 1)
    layers = []
    for index in range(recurrent.num_layers):
        layer = _make_single_layer(recurrent, recurrent.input_size if index == 0 else width, recurrent.bidirectional)
        weights = {}
        for key, tensor in recurrent.state_dict().items():
            parameter, number, direction = _split_name(key)
            if number == index:
                weights[f"{parameter}_l0{direction}"] = tensor
        layer.load_state_dict(weights)
        layers.append(layer)
    return ManuallyStacked(layers)


def manually_bidirectional(recurrent: nn.RNNBase) -> ManuallyBidirectional:
    """Split a bidirectional module of one layer into one module for each direction.

    Raises:
        ArchitectureError: If the module has one direction, several layers (see `manually_stacked`) or projections.
    """
    if not recurrent.bidirectional or recurrent.num_layers != 1:
        raise ArchitectureError(
            f"the module has {recurrent.num_layers} layer(s) and {2 if recurrent.bidirectional else 1} direction(s), "
            "expected 1 layer and 2 directions; manually_stacked splits several layers"
        )
    directions = []
    for suffix in ("", "_reverse"):
        module = _make_single_layer(recurrent, recurrent.input_size, bidirectional=False)
        weights = {}
        for key, tensor in recurrent.state_dict().items():
            parameter, _, direction = _split_name(key)
            if direction == suffix:
                weights[f"{parameter}_l0"] = tensor
        module.load_state_dict(weights)
        directions.append(module)
    return ManuallyBidirectional(*directions)


def _split_name(key: str) -> tuple[str, int, str]:
    """Split a parameter's name: `weight_ih_l1_reverse` gives (`weight_ih`, 1, `_reverse`)."""
    parameter, _, place = key.rpartition("_l")
    number, reverse, _ = place.partition("_reverse")
    return parameter, int(number), reverse


def _make_single_layer(recurrent: nn.RNNBase, features: int, bidirectional: bool) -> nn.RNNBase:
    if recurrent.proj_size:
        raise ArchitectureError(f"the module has projections (proj_size {recurrent.proj_size}), expected none")
    sizes = (features, recurrent.hidden_size)
    options = {"bias": recurrent.bias, "batch_first": recurrent.batch_first, "bidirectional": bidirectional}
    module: nn.RNNBase
    # A new module draws random weights, which are overwritten. They must not advance the caller's generator.
    with torch.random.fork_rng(devices=[]):
        if isinstance(recurrent, nn.LSTM):
            module = nn.LSTM(*sizes, **options)
        elif isinstance(recurrent, nn.GRU):
            module = nn.GRU(*sizes, **options)
        elif isinstance(recurrent, nn.RNN):
            module = nn.RNN(*sizes, nonlinearity=recurrent.nonlinearity, **options)
        else:
            raise ArchitectureError(f"the module is a {type(recurrent).__name__}, expected nn.RNN, nn.GRU or nn.LSTM")
    weight = recurrent.all_weights[0][0]
    return module.to(device=weight.device, dtype=weight.dtype).train(recurrent.training)


def _slice_state(state: State, first: int, count: int) -> State:
    if isinstance(state, Tensor):
        return state[first : first + count]
    h, c = state
    return h[first : first + count], c[first : first + count]


def _join_states(states: list[State]) -> State:
    if isinstance(states[0], Tensor):
        return torch.cat(cast(list[Tensor], states))
    pairs = cast(list[tuple[Tensor, Tensor]], states)
    return torch.cat([h for h, _ in pairs]), torch.cat([c for _, c in pairs])
