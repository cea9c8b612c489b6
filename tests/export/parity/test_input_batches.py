"""Which batches are compared: kinds, sizes and rows."""

import dataclasses
import itertools
from collections import defaultdict

import numpy as np
import pytest
import torch

from kit.descriptions import describe_architecture
from kit.own_modules import PUBLICATIONS, own_module
from rnnserve.export import Floats, Publication
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.parity.input_batches import input_batches
from rnnserve.models import Architecture


@pytest.fixture(scope="module")
def classifier():
    return describe_architecture(Architecture(hidden=3))


def test_what_every_proof_compares(classifier):
    rows = defaultdict(list)
    for batch in input_batches(classifier, 0):
        rows[batch.kind, batch.length].append(batch.rows)
    assert rows["step", 1] == [*range(1, 34)]
    lengths = [length for kind, length in rows if kind == "random"]
    assert lengths == [2, 3, 4, 5, 8, 13, 16, 31, 32, 33, 64, 100, 128]
    for first, second, third in zip(lengths, lengths[1:], lengths[2:], strict=False):
        together = rows["random", first] + rows["random", second] + rows["random", third]
        assert sorted(together) == [*range(1, 34)]
    assert min(sum(rows["random", length]) for length in lengths) == 176
    assert {kind for kind, _ in rows} == {"step", "random", "sample"}


class Wide(torch.nn.Module):
    """More than 2**20 parameters."""

    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(16, 512, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0]


@pytest.fixture(scope="module")
def wide():
    return describe_model(Publication(Wide(), "wide", {"x": Floats("batch", "sequence", 16)}, ["y"]))


def test_a_large_module_is_compared_at_fewer_rows(wide):
    rows = defaultdict(list)
    for batch in input_batches(wide, 0):
        rows[batch.kind, batch.length].append(batch.rows)
    assert rows.pop(("step", 1)) == [*range(1, 34)]
    assert [length for _, length in rows] == [2, 3, 4, 5, 8, 13, 16, 31, 32, 33, 64, 100, 128]
    by_length = list(rows.values())
    for twelve in (by_length[:12], by_length[1:]):
        assert sorted(itertools.chain(*twelve)) == [*range(1, 34)]
    assert min(map(sum, by_length)) == 32


@pytest.mark.parametrize("most", [1, 2, 5, 33])
@pytest.mark.parametrize("lengths", [(1, 4), (2, 9), (1, 500)])
def test_no_batch_size_of_a_large_module_is_left_out(wide, most, lengths):
    rows = defaultdict(set)
    bounded = dataclasses.replace(wide, sizes={"batch": (1, most), "sequence": lengths})
    for batch in input_batches(bounded, 0):
        if batch.kind == "random":
            rows[batch.length].add(batch.rows)
    assert set().union(*rows.values()) == {*range(1, most + 1)}


def test_two_of_three_batches_are_ragged(classifier):
    batches = [batch for batch in input_batches(classifier, 0) if batch.kind == "random" and batch.length == 128]
    full = [(batch.inputs["lengths"] == 128).all() for batch in batches]
    assert full == [at % 3 == 0 for at in range(11)]


def test_a_seed_gives_other_inputs(classifier):
    first, again, other = ([b.inputs["input"] for b in input_batches(classifier, seed)] for seed in (1, 1, 2))
    assert all(np.array_equal(one, same) for one, same in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize(
    ("sizes", "kinds", "lengths"),
    [
        ({"batch": (2, 4), "sequence": (1, 3)}, {"step", "random"}, {1, 2, 3}),
        ({"batch": (2, 4), "sequence": (2, 5)}, {"random"}, {2, 3, 4, 5}),
        ({"batch": (2, 4), "sequence": (6, 7)}, {"random"}, {6, 7}),
        ({"batch": (2, 4), "sequence": (130, 130)}, {"random"}, {130}),
    ],
)
def test_sizes_stay_within_those_of_the_model(classifier, sizes, kinds, lengths):
    batches = list(input_batches(dataclasses.replace(classifier, sizes=sizes, samples=()), 0))
    assert {batch.kind for batch in batches} == kinds
    assert {batch.length for batch in batches} == lengths
    assert {batch.rows for batch in batches} <= {2, 3, 4}
    for batch in batches:
        assert batch.inputs["input"].shape == (batch.rows, batch.length, 2)
    assert str(batches[0]) == f"{batches[0].kind} of batch 2, sequence {min(lengths)}"


def described(name):
    kind, describe = PUBLICATIONS[name]
    return describe_model(describe(own_module(kind)))


def test_a_model_without_a_sequence_axis_has_steps_only():
    batches = list(input_batches(described("step"), 0))
    assert {(batch.kind, batch.length) for batch in batches} == {("step", 1)}


def test_several_axes_have_lengths_unlike_each_other():
    batches = [batch for batch in input_batches(described("seq2seq"), 0) if batch.kind == "random"]
    sizes = {(batch.inputs["source"].shape[1], batch.inputs["target"].shape[1]) for batch in batches}
    assert len(sizes) == 13
    assert all(source != target for source, target in sizes)
    assert all(batch.length == batch.inputs["source"].shape[1] for batch in batches)
