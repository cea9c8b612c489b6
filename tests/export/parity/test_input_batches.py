"""Batches that parity compares: their kinds, sizes and rows."""

import dataclasses
import itertools
from collections import defaultdict

import numpy as np
import pytest

from kit.descriptions import describe_architecture
from kit.own_modules import publication_of
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.parity.batches import input_batches
from rnnserve.models import Architecture

LENGTHS = [2, 3, 4, 5, 8, 13, 16, 31, 32, 33, 64, 100, 128]


@pytest.fixture(scope="module")
def classifier():
    return describe_architecture(Architecture(hidden=3))


def rows_of(model):
    rows = defaultdict(list)
    for batch in input_batches(model, 0):
        rows[batch.kind, batch.length].append(batch.rows)
    return rows


def test_lengths_together_cover_all_batch_sizes(classifier):
    rows = rows_of(classifier)
    assert rows["step", 1] == [*range(1, 34)]
    assert {kind for kind, _ in rows} == {"step", "random", "sample"}
    assert [length for kind, length in rows if kind == "random"] == LENGTHS
    by_length = [rows["random", length] for length in LENGTHS]
    for twelve in (by_length[:12], by_length[1:]):
        assert sorted(itertools.chain(*twelve)) == [*range(1, 34)]
    assert min(map(sum, by_length)) == 32


def test_each_length_has_one_full_batch_and_the_seed_is_reproducible(classifier):
    batches, again, other = (list(input_batches(classifier, seed)) for seed in (1, 1, 2))
    drawn = [batch for batch in batches if batch.kind == "random" and batch.rows > 1]
    full = [batch.length for batch in drawn if (batch.inputs["lengths"] == batch.length).all()]
    assert list(dict.fromkeys(full)) == LENGTHS
    assert len(full) < len(drawn) / 2 + 2
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
def test_sizes_stay_within_the_limits_of_the_model(classifier, sizes, kinds, lengths):
    bounded = dataclasses.replace(classifier, sizes={"batch": (2, 4), "sequence": sizes}, samples=())
    batches = list(input_batches(bounded, 0))
    assert {batch.kind for batch in batches} == kinds
    assert {batch.length for batch in batches} == lengths
    assert {batch.rows for batch in batches} <= {2, 3, 4}
    for batch in batches:
        assert batch.inputs["input"].shape == (batch.rows, batch.length, 2)


def test_sequence_axes_get_different_sizes():
    assert rows_of(describe_model(publication_of("policy"))).keys() == {("step", 1)}
    two_axes = describe_model(publication_of("seq2seq"))
    batches = [batch for batch in input_batches(two_axes, 0) if batch.kind == "random"]
    sizes = {(batch.inputs["source"].shape[1], batch.inputs["target"].shape[1]) for batch in batches}
    assert len(sizes) == 13
    assert all(source != target for source, target in sizes)
    assert all(batch.length == batch.inputs["source"].shape[1] for batch in batches)
