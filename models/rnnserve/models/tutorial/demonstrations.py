"""What the tutorial shows, in its order, as functions that give its tensors.

Everything has 2 features and hidden size 2, and weights of seed 19, unless told otherwise. Torch's global generator is
left as it was.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rnnserve.models.sequences import generate_sequences
from rnnserve.models.tutorial.manual import manually_bidirectional, manually_stacked, run_cell

__all__ = [
    "SEED",
    "BothWays",
    "Run",
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


class Run(NamedTuple):
    """What a recurrent layer gives.

    Attributes:
        output: batch-first (batch, sequence, directions * hidden), or sequence-first (sequence, batch, …).
        h_n: (num_layers * directions, batch, hidden), never batch-first.
    """

    output: Tensor
    h_n: Tensor


class BothWays(NamedTuple):
    """A bidirectional layer's two halves, and what they make together.

    Attributes:
        input: (batch, sequence, features).
        input_reversed: the same, its last point first.
        forwards: of the half that reads input, output (batch, sequence, hidden).
        backwards: of the half that reads input_reversed, its output reversed back so that it is aligned to input.
        together: both, as the bidirectional layer itself gives them.
    """

    input: Tensor
    input_reversed: Tensor
    forwards: Run
    backwards: Run
    together: Run


def rnn_cell(features: int = 2, hidden: int = 2) -> nn.RNNCell:
    """Make the cell of section 1.2: weight_ih (hidden, features), weight_hh (hidden, hidden), two biases (hidden,)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return nn.RNNCell(features, hidden)


def rnn_layer(
    features: int = 2, hidden: int = 2, *, num_layers: int = 1, batch_first: bool = False, bidirectional: bool = False
) -> nn.RNN:
    """Make the layers of sections 1.3 to 1.6; the first layer's weights are the cell's, with `_l0` to their names."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return nn.RNN(features, hidden, num_layers, batch_first=batch_first, bidirectional=bidirectional)


def sample_batch() -> Tensor:
    """Take three of the tutorial's sequences: (batch 3, sequence 4, features 2) float32, batch-first."""
    points, _ = generate_sequences(n=128, seed=13)
    return torch.as_tensor(np.stack(points[:3])).float()


def first_sequence() -> Tensor:
    """Take the first of the tutorial's sequences, as a batch of one: (1, 4, 2) float32."""
    return sample_batch()[:1]


@torch.no_grad()
def cell_in_a_loop() -> Run:
    """Feed the cell by hand what section 1.4 feeds the layer: output (sequence, batch, hidden), h_n (batch, hidden)."""
    return Run(*run_cell(rnn_cell(), sample_batch().permute(1, 0, 2)))


@torch.no_grad()
def permuted_to_sequence_first() -> Run:
    """Option 1: permute the batch to (sequence, batch, features) for a layer that expects it so."""
    return Run(*rnn_layer()(sample_batch().permute(1, 0, 2)))


@torch.no_grad()
def batch_first() -> Run:
    """Option 2: a batch-first layer; its output is batch-first, its h_n is (layers, batch, hidden) all the same."""
    return Run(*rnn_layer(batch_first=True)(sample_batch()))


@torch.no_grad()
def stacked() -> Run:
    """Run the first sequence through two layers at once."""
    return Run(*rnn_layer(num_layers=2, batch_first=True)(first_sequence()))


@torch.no_grad()
def manual_stack() -> Run:
    """Run the first sequence through the same two layers, one after the other."""
    return Run(*manually_stacked(rnn_layer(num_layers=2, batch_first=True))(first_sequence()))


@torch.no_grad()
def bidirectional() -> Run:
    """Run the first sequence through a bidirectional layer."""
    return Run(*rnn_layer(batch_first=True, bidirectional=True)(first_sequence()))


@torch.no_grad()
def manual_bidirectional() -> BothWays:
    """Run the first sequence through the same layer's two halves, and put their results together."""
    halves = manually_bidirectional(rnn_layer(batch_first=True, bidirectional=True))
    input = first_sequence()
    input_reversed = input.flip(1)
    output, h_n = halves.forwards(input)
    output_reversed, h_n_reversed = halves.backwards(input_reversed)
    return BothWays(
        input,
        input_reversed,
        Run(output, h_n),
        Run(output_reversed.flip(1), h_n_reversed),
        Run(*halves(input)),
    )


def output_ends_in_final_state(run: Run, *, directions: int = 1) -> Tensor:
    """Compare the last point's output with the last layer's final state: (batch, directions * hidden) bool.

    True throughout for one direction. For two, the backward half is False: its final state lies at the first point.

    Args:
        run: batch-first, of sequences that all end at the last point.
        directions: of the layer that ran.
    """
    final = run.h_n[-directions:].permute(1, 0, 2).flatten(1)
    return run.output[:, -1] == final
