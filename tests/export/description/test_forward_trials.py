"""Sizes and lengths that a module does not take are told before anything is exported, with what to change."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnserve.export import Floats, Lengths, Publication, WrongArguments
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.parity.extreme_batches import ExtremeBatches

INPUTS = {"x": Floats("batch", "sequence", 2), "lengths": Lengths()}


class Positions(nn.Module):
    """Has eight positions, needs three steps, and normalises over the batch, each where it is told so.

    Where it sorts or trims, not by PyTorch's packing functions alone.
    """

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


@pytest.mark.parametrize(
    ("module", "sizes", "match"),
    [
        (
            Positions(16),
            {},
            r"^forward raises for the sizes batch 1, sequence 128: IndexError: .* It got x \[1, 128, 2\] float32, "
            r'lengths \[1\] int64\. .*: sizes=\{"sequence": \(1, …\)\}$',
        ),
        (Positions(), {}, r'it got "lengths" up to 10: .*does the module take fewer steps: sizes='),
        (
            Positions(least=3),
            {"sequence": (1, 8)},
            r'^forward raises for the sizes batch 1, sequence 1: RuntimeError: too short\. .*\{"sequence": \(…, 8\)\}$',
        ),
        (
            Positions(over_the_batch=True),
            {"sequence": (1, 8)},
            r"^forward raises for the sizes batch 1, sequence 1: .* It takes two rows, and a request may have one\. .*"
            r'track_running_stats=False\..* sizes=\{"batch": \(2, …\)\}$',
        ),
        (
            Positions(sort=True),
            {"sequence": (1, 8)},
            r'^forward raises for the lengths "lengths" \[1, 3, 5\]: .*: pass enforce_sorted=False to',
        ),
        (
            Positions(trim=True),
            {"sequence": (1, 8)},
            r'^output "output" has shape \[3, 5, 5\] where .*; expected \[3, 6, 5\], \(batch, sequence, axis 2\)\. .*'
            r"pass total_length=x\.size\(1\)",
        ),
    ],
    ids=["positions", "few positions", "steps", "rows", "sorted", "trimmed"],
)
def test_sizes_and_lengths_that_the_module_does_not_take(not_published, module, sizes, match):
    not_published(WrongArguments, match, Publication(module, "model", INPUTS, ["output", "h"], sizes=sizes))


class Table(nn.Module):
    """Has positions for so many steps, as an embedding or as a buffer that is cut."""

    def __init__(self, most, *, cut):
        super().__init__()
        self.gru = nn.GRU(2, 5, batch_first=True)
        self.embedding = None if cut else nn.Embedding(most, 2)
        self.table = nn.Buffer(torch.zeros(most, 2))

    def forward(self, x):
        steps = x.size(1)
        positions = self.table[:steps] if self.embedding is None else self.embedding(torch.arange(steps))
        return self.gru(x + positions)[0]


@pytest.mark.parametrize("cut", [False, True], ids=["embedding", "buffer"])
@pytest.mark.parametrize("most", [128, 512, 2999])
def test_a_table_that_ends_beyond_the_sizes_of_the_proof(not_published, most, cut):
    inputs = {"x": Floats("batch", "sequence", 2)}
    match = rf'sequence {most + 1}: .*It takes {most} at most\. Say so: sizes=\{{"sequence": \(1, {most}\)\}}$'
    not_published(WrongArguments, match, Publication(Table(most, cut=cut), "model", inputs, ["y"]))
    sizes = {"sequence": (1, most)}
    assert describe_model(Publication(Table(most, cut=cut), "model", inputs, ["y"], sizes=sizes)).sizes.items() >= (
        sizes.items()
    )


class Windows(nn.Module):
    """Needs a window of samples."""

    def __init__(self, window):
        super().__init__()
        self.window = window
        self.gru = nn.GRU(window, 5, batch_first=True)

    def forward(self, x):
        return self.gru(x.unfold(1, self.window, 16))[0]


@pytest.mark.parametrize("window", [6, 32, 400, 3000])
def test_fewer_steps_than_a_window_has_are_told(not_published, window):
    inputs = {"x": Floats("batch", "samples")}
    match = rf'forward does not take .*It takes {window} of "samples" at least\. Say so: .*"samples": \({window}, …\)'
    not_published(WrongArguments, match, Publication(Windows(window), "model", inputs, ["y"]))


@pytest.mark.parametrize("sizes", [(3, 8), (8, 8)])
def test_sizes_that_the_module_takes_are_described(sizes):
    publication = Publication(Positions(least=3), "model", INPUTS, ["output", "h"], sizes={"sequence": sizes})
    model = describe_model(publication)
    assert [len(tensor.axes) for tensor in model.outputs] == [3, 2]


class Unfolded(nn.Module):
    """A loop over steps, and in each another one of so many operators, as an ODE that is solved has."""

    def __init__(self, unfolds):
        super().__init__()
        self.unfolds, self.calls = unfolds, []
        self.gate = nn.Parameter(torch.tensor([0.5, -0.5]))

    def forward(self, x):
        self.calls.append(x.size(1))
        h, outputs = torch.zeros_like(x[:, 0]), []
        for t in range(x.size(1)):
            h = h + x[:, t]
            for _ in range(self.unfolds):
                h = h * self.gate
            outputs.append(h)
        return torch.stack(outputs, 1)


@pytest.mark.parametrize(("unfolds", "longest"), [(1, 3000), (120, 3000), (140, 1000), (420, 300), (3000, 300)])
def test_long_sequences_are_as_long_as_the_operators_of_a_step_let_them_be(unfolds, longest):
    module = Unfolded(unfolds)
    model = describe_model(Publication(module, "model", {"x": Floats("batch", "sequence", 2)}, ["y"]))
    assert model.longest == longest
    assert max(module.calls) == longest


def test_what_was_not_tried_is_said():
    publication = Publication(Unfolded(140), "model", {"x": Floats("batch", "sequence", 2)}, ["y"])
    model = describe_model(publication)
    shorter = ExtremeBatches(dataclasses.replace(model, longest=300), 0, computes_with_sizes=True)
    for batches, longest in ((ExtremeBatches(model, 0, computes_with_sizes=True), 1000), (shorter, 300)):
        lengths = [batch.length for batch in batches if batch.kind in ("long", "uneven lengths")]
        assert max(lengths) == longest
        assert batches.drawn["long"] == f"up to {longest:,} steps"
        said = [line for line in batches.not_drawn if line.startswith("long: ")]
        assert said == [
            f'long: more than {longest:,} steps of "sequence", for which the module runs too many operators to be '
            "compared in some seconds"
        ]
