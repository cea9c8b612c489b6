"""LSTM with projections (`proj_size`): a scan, since ONNX's LSTM operator has none.

The hidden state of each step is multiplied by weight_hr before the next step reads it (https://arxiv.org/abs/1402.1128).
Such a layer also equals an LSTM operator with the recurrent weight `weight_hh @ weight_hr`. That has up to
hidden / proj_size times the weights to read in each step, and rounds in another order than eager.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from rnnserve.export.recurrence.scan import scan

__all__ = ["projected_lstm"]


def projected_lstm(
    steps: Tensor,
    lengths: Tensor | None,
    h_0: Tensor | None,
    c_0: Tensor | None,
    weights: Sequence[Tensor],
    bidirectional: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute one layer, as PyTorch does.

    Args:
        steps: (sequence, batch, features).
        lengths: (batch,) int64, or None where all rows are as long as the sequence.
        h_0: (directions, batch, projection), or None for zeros.
        c_0: (directions, batch, hidden), or None for zeros.
        weights: Direction by direction: weight_ih (4 * hidden, features), weight_hh (4 * hidden, projection), with bias
            bias_ih and bias_hh (4 * hidden,), and weight_hr (projection, hidden).
        bidirectional: Whether there are two directions.

    Returns:
        output (sequence, batch, directions * projection), zero after each row's length; h_n like h_0; c_n like c_0.
    """
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
    """Compute one direction of a layer.

    Args:
        steps: (sequence, batch, features).
        inside: (sequence, batch) bool, whether a step is within its row's length; None where all are.
        h: (batch, projection), before the first step.
        c: (batch, hidden), before the first step.
        weights: Weights of the direction.
        reverse: Whether the last step is the first.

    Returns:
        output (sequence, batch, projection), and the states after the last step of each row.
    """
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
