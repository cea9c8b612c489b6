"""The tutorial's demonstrations, in its order, as functions that return its tensors.

All tensors are float32. Unless arguments specify otherwise, layers have 2 features, hidden size 2 and weights from seed
19. Torch's global generator doesn't advance.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rnnserve.models.sequences import generate_sequences
from rnnserve.models.tutorial.manual_layers import manually_bidirectional, manually_stacked, run_cell

__all__ = [
    "SEED",
    "BidirectionalOutput",
    "LayerOutput",
    "batch_first",
    "bidirectional",
    "cell_in_a_loop",
    "first_sequence",
    "manual_bidirectional",
    "manual_stack",
    "output_ends_in_final_state",
    "permuted_to_sequence_first",
    "rnn_cell",
    "rnn_layer",
    "sample_batch",
    "stacked",
]

SEED = 19


class LayerOutput(NamedTuple):
    """The output of a recurrent layer.

    Attributes:
        output: The last layer's hidden states, (batch, sequence, directions * hidden) if batch-first, or (sequence,
            batch, directions * hidden).
        h_n: Final hidden states, (num_layers * directions, batch, hidden), never batch-first.
    """

    output: Tensor
    h_n: Tensor


class BidirectionalOutput(NamedTuple):
    """The output of a bidirectional layer, and of its two directions on their own.

    Attributes:
        input: Points, (batch, sequence, features).
        input_reversed: The same points in reverse order, (batch, sequence, features).
        forwards: Results of the direction that reads input: output (batch, sequence, hidden), h_n (1, batch, hidden).
        backwards: Results of the direction that reads input_reversed; its output, (batch, sequence, hidden), is
            reversed again, so that it is aligned to input.
        together: Results of both, as the bidirectional layer returns them: output (batch, sequence, 2 * hidden), h_n
            (2, batch, hidden).
    """

    input: Tensor
    input_reversed: Tensor
    forwards: LayerOutput
    backwards: LayerOutput
    together: LayerOutput


def rnn_cell(features: int = 2, hidden: int = 2) -> nn.RNNCell:
    """Return the cell of section 1.2: weight_ih (hidden, features), weight_hh (hidden, hidden), biases (hidden,)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return nn.RNNCell(features, hidden)


def rnn_layer(
    features: int = 2, hidden: int = 2, *, num_layers: int = 1, batch_first: bool = False, bidirectional: bool = False
) -> nn.RNN:
    """Return the layers of sections 1.3 to 1.6. The first layer has the cell's weights, with the suffix `_l0`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return nn.RNN(features, hidden, num_layers, batch_first=batch_first, bidirectional=bidirectional)


def sample_batch() -> Tensor:
    """Return three of the tutorial's sequences: (batch, sequence, features) = (3, 4, 2) float32."""
    points, _ = generate_sequences(n=128, seed=13)
    return torch.as_tensor(np.stack(points[:3])).float()


def first_sequence() -> Tensor:
    """Return the first of the tutorial's sequences: (batch, sequence, features) = (1, 4, 2) float32."""
    return sample_batch()[:1]


@torch.no_grad()
def cell_in_a_loop() -> LayerOutput:
    """Run the cell on the input of section 1.4's layer: output (sequence, batch, hidden), h_n (batch, hidden)."""
    return LayerOutput(*run_cell(rnn_cell(), sample_batch().permute(1, 0, 2)))


@torch.no_grad()
def permuted_to_sequence_first() -> LayerOutput:
    """Option 1: permute the batch to (sequence, batch, features), the default order of a layer."""
    return LayerOutput(*rnn_layer()(sample_batch().permute(1, 0, 2)))


@torch.no_grad()
def batch_first() -> LayerOutput:
    """Option 2: use a batch-first layer. Its output is batch-first, but its h_n is (num_layers, batch, hidden)."""
    return LayerOutput(*rnn_layer(batch_first=True)(sample_batch()))


@torch.no_grad()
def stacked() -> LayerOutput:
    """Run the first sequence through one module of two layers."""
    return LayerOutput(*rnn_layer(num_layers=2, batch_first=True)(first_sequence()))


@torch.no_grad()
def manual_stack() -> LayerOutput:
    """Run the first sequence through the same two layers, one after the other."""
    return LayerOutput(*manually_stacked(rnn_layer(num_layers=2, batch_first=True))(first_sequence()))


@torch.no_grad()
def bidirectional() -> LayerOutput:
    """Run the first sequence through a bidirectional layer."""
    return LayerOutput(*rnn_layer(batch_first=True, bidirectional=True)(first_sequence()))


@torch.no_grad()
def manual_bidirectional() -> BidirectionalOutput:
    """Run the first sequence through the two directions of the same layer, and join their results."""
    directions = manually_bidirectional(rnn_layer(batch_first=True, bidirectional=True))
    input = first_sequence()
    input_reversed = input.flip(1)
    output, h_n = directions.forwards(input)
    output_reversed, h_n_reversed = directions.backwards(input_reversed)
    return BidirectionalOutput(
        input,
        input_reversed,
        LayerOutput(output, h_n),
        LayerOutput(output_reversed.flip(1), h_n_reversed),
        LayerOutput(*directions(input)),
    )


def output_ends_in_final_state(run: LayerOutput, *, directions: int = 1) -> Tensor:
    """Compare the last point's output with the last layer's final state.

    Args:
        run: Batch-first output for sequences that all end at the last point.
        directions: Number of directions of the layer.

    Returns:
        (batch, directions * hidden) bool. All values are True for one direction. For two directions the second half is
        False, since the backward direction ends at the first point.
    """
    final = run.h_n[-directions:].permute(1, 0, 2).flatten(1)
    return run.output[:, -1] == final
