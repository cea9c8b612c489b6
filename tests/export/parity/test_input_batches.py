"""Batches that parity compares: their kinds, sizes and rows."""

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

LENGTHS = [2, 3, 4, 5, 8, 13, 16, 31, 32, 33, 64, 100, 128]


@pytest.fixture(scope="module")
def classifier():
    return describe_architecture(Architecture(hidden=3))


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


def rows_of(model):
    rows = defaultdict(list)
    for batch in input_batches(model, 0):
        rows[batch.kind, batch.length].append(batch.rows)
    return rows


def test_every_length_has_many_rows_and_any_three_lengths_have_all_batch_sizes(classifier):
    rows = rows_of(classifier)
    assert rows["step", 1] == [*range(1, 34)]
    assert {kind for kind, _ in rows} == {"step", "random", "sample"}
    assert [length for kind, length in rows if kind == "random"] == LENGTHS
    for three in zip(LENGTHS, LENGTHS[1:], LENGTHS[2:], strict=False):
        assert sorted(itertools.chain(*(rows["random", length] for length in three))) == [*range(1, 34)]
    assert min(sum(rows["random", length]) for length in LENGTHS) == 176


def test_large_module_is_compared_at_fewer_rows(wide):
    rows = rows_of(wide)
    assert rows.pop(("step", 1)) == [*range(1, 34)]
    assert [length for _, length in rows] == LENGTHS
    by_length = list(rows.values())
    for twelve in (by_length[:12], by_length[1:]):
        assert sorted(itertools.chain(*twelve)) == [*range(1, 34)]
    assert min(map(sum, by_length)) == 32


def test_no_batch_size_of_a_large_module_is_left_out(wide):
    for most, lengths in itertools.product([1, 2, 5, 33], [(1, 4), (2, 9), (1, 500)]):
        rows = rows_of(dataclasses.replace(wide, sizes={"batch": (1, most), "sequence": lengths}))
        random = [of_length for (kind, _), of_length in rows.items() if kind == "random"]
        assert set(itertools.chain(*random)) == {*range(1, most + 1)}


def test_two_of_three_batches_are_ragged_and_a_seed_repeats(classifier):
    batches, again, other = (list(input_batches(classifier, seed)) for seed in (1, 1, 2))
    full = [(b.inputs["lengths"] == 128).all() for b in batches if (b.kind, b.length) == ("random", 128)]
    assert full == [at % 3 == 0 for at in range(11)]
    for one, same in zip(batches, again, strict=True):
        np.testing.assert_array_equal(one.inputs["input"], same.inputs["input"])
    assert not np.array_equal(batches[0].inputs["input"], other[0].inputs["input"])


@pytest.mark.parametrize(
    ("sizes", "kinds", "lengths"),
    [
        ((1, 3), {"step", "random"}, {1, 2, 3}),
        ((2, 5), {"random"}, {2, 3, 4, 5}),
        ((6, 7), {"random"}, {6, 7}),
        ((130, 130), {"random"}, {130}),
    ],
)
def test_sizes_stay_within_those_of_the_model(classifier, sizes, kinds, lengths):
    bounded = dataclasses.replace(classifier, sizes={"batch": (2, 4), "sequence": sizes}, samples=())
    batches = list(input_batches(bounded, 0))
    assert {batch.kind for batch in batches} == kinds
    assert {batch.length for batch in batches} == lengths
    assert {batch.rows for batch in batches} <= {2, 3, 4}
    for batch in batches:
        assert batch.inputs["input"].shape == (batch.rows, batch.length, 2)


def described(name):
    kind, describe = PUBLICATIONS[name]
    return describe_model(describe(own_module(kind)))


def test_other_axes_have_sizes_of_their_own():
    assert rows_of(described("step")).keys() == {("step", 1)}
    batches = [batch for batch in input_batches(described("seq2seq"), 0) if batch.kind == "random"]
    sizes = {(batch.inputs["source"].shape[1], batch.inputs["target"].shape[1]) for batch in batches}
    assert len(sizes) == 13
    assert all(source != target for source, target in sizes)
    assert all(batch.length == batch.inputs["source"].shape[1] for batch in batches)
