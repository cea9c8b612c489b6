"""Sizes and lengths that forward doesn't accept are refused before any export, with a remedy."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnserve.export import Floats, Lengths, Publication, WrongArguments
from rnnserve.export.description.described_model import describe_model

INPUTS = {"x": Floats("batch", "sequence", 2), "lengths": Lengths()}


class Positions(nn.Module):
    """Has so many positions, needs so many steps. May normalize over the batch, need sorted rows, or trim."""

    def __init__(self, most=8, least=1, *, over_the_batch=False, sort=False, trim=False):
        super().__init__()
        self.gru = nn.GRU(2, 5, batch_first=True)
        self.positions = nn.Embedding(most, 2)
        self.least, self.sort, self.trim = least, sort, trim
        self.norm = nn.BatchNorm1d(5, track_running_stats=False) if over_the_batch else nn.Identity()

    def forward(self, x, lengths):
        if x.size(1) < self.least:
            raise RuntimeError("too short")
        x = x + self.positions(torch.arange(x.size(1)))
        if self.sort and (lengths[1:] > lengths[:-1]).any():
            raise RuntimeError("rows are not sorted")
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        output, h_n = self.gru(packed)
        output, _ = pad_packed_sequence(output, batch_first=True, total_length=None if self.trim else x.size(1))
        return output.flip(1) if self.trim else output, self.norm(h_n[-1])


SHORT = {"sequence": (1, 8)}


@pytest.mark.parametrize(
    ("module", "sizes", "match"),
    [
        (Positions(16), {}, r'^forward raises for the sizes batch 1, sequence 17: IndexError: .*"sequence": \(1, 16\)'),
        (Positions(), {}, r'it got "lengths" up to 10\. .*only fewer steps\? Then bound them: sizes='),
        (Positions(least=3), SHORT, r'sizes batch 1, sequence 1: RuntimeError: too short\. .*"sequence": \(3, 8\)'),
        (Positions(over_the_batch=True), SHORT, r'It accepts two rows, but a request may have one.*"batch": \(2, …\)'),
        (Positions(sort=True), SHORT, r'for the lengths "lengths" \[1, 2, 3\]: .*. Pass enforce_sorted=False to'),
        (Positions(trim=True), SHORT, r'"output" has shape \[3, 3, 5\] .*; expected \[3, 6, 5\].*total_length=x\.size'),
    ],
    ids=["positions", "few positions", "steps", "rows", "sorted", "trimmed"],
)
def test_sizes_and_lengths_that_forward_rejects_are_refused(not_published, module, sizes, match):
    not_published(WrongArguments, match, Publication(module, "model", INPUTS, ["output", "h"], sizes=sizes))


class Windows(nn.Module):
    """Needs a window of samples."""

    def __init__(self, window):
        super().__init__()
        self.window = window
        self.gru = nn.GRU(window, 5, batch_first=True)

    def forward(self, x):
        return self.gru(x.unfold(1, self.window, 16))[0]


@pytest.mark.parametrize("window", [6, 32, 400, 3000])
def test_error_names_the_smallest_accepted_number_of_steps(not_published, window):
    inputs = {"x": Floats("batch", "samples")}
    match = rf'It needs at least {window} of "samples"\. Add .*"samples": \({window}, …\)'
    not_published(WrongArguments, match, Publication(Windows(window), "model", inputs, ["y"]))


class Table(nn.Module):
    """Has positions for so many steps."""

    def __init__(self, most):
        super().__init__()
        self.gru = nn.GRU(2, 5, batch_first=True)
        self.table = nn.Embedding(most, 2)

    def forward(self, x):
        return self.gru(x + self.table(torch.arange(x.size(1))))[0]


@pytest.mark.parametrize("most", [128, 2999])
def test_error_names_the_largest_accepted_number_of_steps(not_published, most):
    inputs, sizes = {"x": Floats("batch", "sequence", 2)}, {"sequence": (1, most)}
    match = rf'sequence {most + 1}: .*It accepts at most {most}\. Add sizes=\{{"sequence": \(1, {most}\)\}}$'
    not_published(WrongArguments, match, Publication(Table(most), "model", inputs, ["y"]))
    assert describe_model(Publication(Table(most), "model", inputs, ["y"], sizes=sizes)).sizes["sequence"] == (1, most)
