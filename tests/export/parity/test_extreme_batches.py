"""Batches of extreme values: what each kind holds, and which values the description allows."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from rnnserve.export import Flags, Floats, Integers, Lengths, Publication
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.parity.batches import ExtremeBatches


class Everything(nn.Module):
    """Takes one input of every kind."""

    def forward(self, x, mel, ids, flag, lengths, h_0):
        y = x.sum(-1) + mel.sum(-1) + ids + flag + lengths[:, None]
        return y, h_0 * 2


INPUTS = {
    "x": Floats("batch", "sequence", ("features", 3)),
    "mel": Floats("batch", "sequence", ("mel", 2), low=0.0, high=5.0),
    "ids": Integers("batch", "sequence", low=7, high=4000),
    "flag": Flags("batch", "sequence"),
    "lengths": Lengths(),
    "h_0": Floats(("layers", 1), "batch", ("hidden", 4)),
}


def described(**more):
    publication = Publication(Everything(), "m", INPUTS, ["y", "h_n"], {"h_n": "h_0"}, **more)
    return describe_model(publication)


def drawn(model, seed=0, **more):
    batches = ExtremeBatches(model, seed, **more)
    by_kind: dict[str, list] = {}
    for batch in batches:
        by_kind.setdefault(batch.kind, []).append(batch)
    return batches, by_kind


@pytest.fixture(scope="module")
def everything():
    return drawn(described())


def test_every_kind_is_drawn_and_named(everything):
    batches, by_kind = everything
    assert list(by_kind) == list(batches.drawn) == [
        "zeros", "constant", "level", "silence", "tiny", "loud", "louder", "ends", "ties", "states", "lengths", "ids",
        "long", "long and loud",
    ]  # fmt: skip
    assert batches.not_drawn == []
    assert batches.drawn["ids"] == 'all 3,993 of "ids"'
    assert batches.drawn["long"] == "up to 3,000 steps"


def test_extreme_values_stay_within_the_described_bounds(everything):
    for batch in (batch for of_kind in everything[1].values() for batch in of_kind):
        assert batch.inputs["mel"].min() >= 0
        assert batch.inputs["mel"].max() <= 5
        assert batch.inputs["ids"].min() >= 7
        assert batch.inputs["ids"].max() < 4000
        assert batch.inputs["lengths"].min() >= 1
        assert batch.inputs["lengths"].max() <= batch.length
        assert batch.inputs["flag"].dtype == bool
        assert batch.inputs["x"].dtype == np.float32


def test_each_kind_has_its_extreme_values(everything):
    x = {kind: batches[0].inputs["x"] for kind, batches in everything[1].items()}
    assert not x["zeros"].any()
    assert np.ptp(x["constant"].reshape(8, -1), axis=1).max() == 0
    assert (x["constant"].std(axis=-1) == 0).all()
    assert np.ptp(x["level"], axis=1).max() == 0
    assert len(np.unique(x["level"][0])) == 1
    assert len(np.unique(x["level"][1])) == 3
    for row in x["silence"]:
        quiet = ~row.any(axis=-1)
        assert quiet.any()
    assert np.abs(x["silence"]).max() > 30
    assert 0 < np.abs(x["tiny"][0]).max() < 1e-9
    assert 0 < np.abs(x["tiny"][1]).max() < np.finfo(np.float32).tiny
    assert 30 < np.abs(x["loud"]).max() < 300
    assert 1000 < np.abs(x["louder"]).max() < 10_000
    assert set(np.unique(x["ties"])) == {-1, 0, 1}
    mel = everything[1]["ends"][0].inputs["mel"]
    assert set(np.unique(mel)) == {0, 5}
    ids = everything[1]["ends"][0].inputs["ids"]
    assert set(np.unique(ids)) == {7, 3999}
    states = everything[1]["states"][0].inputs["h_0"]
    assert {float(value) for value in np.unique(np.abs(states))} == {0, 1, 30}
    lengths = everything[1]["lengths"][0].inputs["lengths"]
    assert lengths.tolist() == [1, 33] * 4


def test_every_id_is_drawn(everything):
    ids = np.concatenate([batch.inputs["ids"].ravel() for batch in everything[1]["ids"]])
    np.testing.assert_array_equal(np.unique(ids), np.arange(7, 4000))


def test_long_rows_include_loud_values_and_the_longest_accepted_length(everything):
    batches, by_kind = everything
    assert [(batch.rows, batch.length) for batch in by_kind["long"]] == [(2, 1000), (1, 3000)]
    (batch,) = by_kind["long and loud"]
    assert (batch.rows, batch.length) == (2, 1000)
    assert batches.drawn["long and loud"] == "30 and 300 times the usual values, by row, 1,000 steps"
    assert batch.inputs["x"].std(axis=(1, 2)) == pytest.approx([30, 300], rel=0.1)
    assert batch.inputs["mel"].max() <= 5  # within the bounds that are described
    batches, by_kind = drawn(described(sizes={"sequence": (2, 1200)}))
    assert [(batch.rows, batch.length) for batch in by_kind["long"]] == [(2, 1000)]
    assert batches.not_drawn == ['long: 3,000 steps, but "sequence" has at most 1,200']
    by_kind = drawn(described(sizes={"sequence": (2, 9)}))[1]
    assert "long" not in by_kind
    assert [batch.length for batch in by_kind["long and loud"]] == [9]


def test_uneven_lengths_are_drawn_if_the_graph_computes_with_sizes(everything):
    assert "uneven lengths" not in everything[1]
    for longest, end in ((3000, 1000), (300, 100)):
        by_kind = drawn(dataclasses.replace(described(), longest=longest), computes_with_sizes=True)[1]
        assert [batch.length for batch in by_kind["uneven lengths"]] == [*range(35, end, 23)]


def test_bounded_floats_have_no_loud_batches():
    class Take(nn.Module):
        def forward(self, x):
            return torch.tanh(x)

    inputs = {"x": Floats("batch", ("features", 3), low=-1.0, high=1.0)}
    batches, by_kind = drawn(describe_model(Publication(Take(), "m", inputs, ["y"])))
    assert "loud" not in by_kind
    assert batches.not_drawn == [f"{kind}: the input spec bounds the floats" for kind in ("loud", "louder")]
    assert all(batch.length == 1 for of_kind in by_kind.values() for batch in of_kind)


def test_ids_named_in_the_graph_fill_whole_rows():
    batches, by_kind = drawn(described(), named=[-1, 8, 577, 3999, 4000])
    (batch,) = by_kind["ids alone"]
    rows = batch.inputs["ids"]
    assert (rows == rows[:, :1]).all()
    assert rows[:, 0].tolist() == [7, 8, 9, 576, 577, 578, 3998, 3999]
    assert batches.drawn["ids alone"] == "rows of one id that occurs in the graph"
    assert "ids alone" not in drawn(described(), named=[-1, 5000])[1]
