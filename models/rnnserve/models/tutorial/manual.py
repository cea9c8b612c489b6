"""Recurrent layers taken apart and put together again by hand, with the same numbers.

They take any `nn.RNN`, `nn.GRU` or `nn.LSTM`, of any sizes, and work on copies of its weights.
"""

from typing import cast

import torch
from torch import Tensor, nn

from rnnserve.models.errors import ArchitectureError

__all__ = ["ManuallyBidirectional", "ManuallyStacked", "manually_bidirectional", "manually_stacked", "run_cell"]

# A hidden state (layers * directions, batch, hidden), or the lstm's two.
State = Tensor | tuple[Tensor, Tensor]


def run_cell(cell: nn.RNNCell, input: Tensor, h_0: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Feed a cell one point after the other, each with the hidden state that the last one left.

    Args:
        cell: one step of a recurrence.
        input: (sequence, batch, features).
        h_0: (batch, hidden); None: zeros.

    Returns:
        output: (sequence, batch, hidden), the state after each point.
        h_n: (batch, hidden), the last of them.
    """
    h = input.new_zeros(input.size(1), cell.hidden_size) if h_0 is None else h_0
    states = []
    for point in input:  # (batch, features)
        h = cell(point, h)
        states.append(h)
    return torch.stack(states), h


class ManuallyStacked(nn.Module):
    """Layers one above the other, each reading the output of the one below.

    Attributes:
        layers: recurrent modules of one layer each.
    """

    def __init__(self, layers: list[nn.RNNBase]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, input: Tensor, h_0: State | None = None) -> tuple[Tensor, State]:
        """Run all layers, like the module they were taken from.

        Args:
            input: (batch, sequence, features), or (sequence, batch, features) where the layers are not batch-first.
            h_0: (num_layers * directions, batch, hidden), the lstm's a pair of them; None: zeros.

        Returns:
            output: of the last layer, (batch, sequence, directions * hidden) or sequence-first.
            h_n: of all layers, like h_0.
        """
        finals: list[State] = []
        for index, layer in enumerate(self.layers):
            directions = 2 if layer.bidirectional else 1
            state = None if h_0 is None else _rows(h_0, index * directions, directions)
            input, final = layer(input, state)
            finals.append(final)
        return input, _joined(finals)


class ManuallyBidirectional(nn.Module):
    """Two recurrent modules of one layer: one reads the sequence, the other its reverse.

    Attributes:
        forwards: reads from the first point to the last.
        backwards: reads from the last point to the first.
    """

    def __init__(self, forwards: nn.RNNBase, backwards: nn.RNNBase) -> None:
        super().__init__()
        self.forwards = forwards
        self.backwards = backwards

    def forward(self, input: Tensor, h_0: State | None = None) -> tuple[Tensor, State]:
        """Run both, like the module they were taken from.

        Args:
            input: (batch, sequence, features), or (sequence, batch, features) where the modules are not batch-first.
            h_0: (2, batch, hidden), the lstm's a pair of them; None: zeros.

        Returns:
            output: both outputs side by side, aligned to the sequence, (batch, sequence, 2 * hidden) or sequence-first.
            h_n: (2, batch, hidden), like h_0: after the last point forwards, after the first point backwards.
        """
        sequence = 1 if self.forwards.batch_first else 0
        first, second = (None, None) if h_0 is None else (_rows(h_0, 0, 1), _rows(h_0, 1, 1))
        output, h = self.forwards(input, first)
        output_reversed, h_reversed = self.backwards(input.flip(sequence), second)
        return torch.cat([output, output_reversed.flip(sequence)], dim=2), _joined([h, h_reversed])


def manually_stacked(recurrent: nn.RNNBase) -> ManuallyStacked:
    """Take a stacked module apart into one module a layer; a bidirectional one gives bidirectional layers.

    Raises:
        ArchitectureError: it has projections, or is none of the three.
    """
    width = recurrent.hidden_size * (2 if recurrent.bidirectional else 1)
    layers = []
    for index in range(recurrent.num_layers):
        layer = _single(recurrent, recurrent.input_size if index == 0 else width, recurrent.bidirectional)
        weights = {}
        for key, tensor in recurrent.state_dict().items():
            kind, number, direction = _parts(key)
            if number == index:
                weights[f"{kind}_l0{direction}"] = tensor
        layer.load_state_dict(weights)
        layers.append(layer)
    return ManuallyStacked(layers)


def manually_bidirectional(recurrent: nn.RNNBase) -> ManuallyBidirectional:
    """Take a bidirectional module of one layer apart into one module a direction.

    Raises:
        ArchitectureError: it reads one way only, has several layers (see `manually_stacked`) or projections.
    """
    if not recurrent.bidirectional or recurrent.num_layers != 1:
        raise ArchitectureError(
            f"the module has {recurrent.num_layers} layer(s) and {2 if recurrent.bidirectional else 1} direction(s), "
            "expected 1 layer and 2 directions; manually_stacked takes several layers apart"
        )
    directions = []
    for wanted in ("", "_reverse"):
        module = _single(recurrent, recurrent.input_size, bidirectional=False)
        weights = {}
        for key, tensor in recurrent.state_dict().items():
            kind, _, direction = _parts(key)
            if direction == wanted:
                weights[f"{kind}_l0"] = tensor
        module.load_state_dict(weights)
        directions.append(module)
    return ManuallyBidirectional(*directions)


def _parts(key: str) -> tuple[str, int, str]:
    """Split a parameter's name: `weight_ih_l1_reverse` is (`weight_ih`, 1, `_reverse`)."""
    kind, _, place = key.rpartition("_l")
    number, reverse, _ = place.partition("_reverse")
    return kind, int(number), reverse


def _single(recurrent: nn.RNNBase, features: int, bidirectional: bool) -> nn.RNNBase:
    if recurrent.proj_size:
        raise ArchitectureError(f"the module has projections (proj_size {recurrent.proj_size}), expected none")
    sizes = (features, recurrent.hidden_size)
    options = {"bias": recurrent.bias, "batch_first": recurrent.batch_first, "bidirectional": bidirectional}
    module: nn.RNNBase
    # Random weights are drawn and overwritten; the caller's generator must not move for them.
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


def _rows(state: State, first: int, count: int) -> State:
    if isinstance(state, Tensor):
        return state[first : first + count]
    h, c = state
    return h[first : first + count], c[first : first + count]


def _joined(states: list[State]) -> State:
    if isinstance(states[0], Tensor):
        return torch.cat(cast(list[Tensor], states))
    pairs = cast(list[tuple[Tensor, Tensor]], states)
    return torch.cat([h for h, _ in pairs]), torch.cat([c for _, c in pairs])
