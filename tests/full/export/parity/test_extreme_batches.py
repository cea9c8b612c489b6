"""Extreme batches of integers: vocabularies of any size, and numbers that a graph names."""

from typing import Any

import numpy as np
import torch
from torch import nn

from rnnserve.export import Integers, Publication, export_onnx
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.parity import batches as extreme_batches
from rnnserve.export.parity.batches import ExtremeBatches, named_integers


class Remainder(nn.Module):
    def forward(self, ids):
        return (ids % 7).float()


def drawn(low, high, **more):
    """The kinds of batches of ids from `low` to below `high`, and what was not drawn."""
    inputs = {"ids": Integers("batch", low=low, high=high)}
    batches = ExtremeBatches(describe_model(Publication(Remainder(), "m", inputs, ["y"])), 0, **more)
    by_kind: dict[str, list] = {}
    for batch in batches:
        by_kind.setdefault(batch.kind, []).append(batch.inputs["ids"])
    return by_kind, batches.not_drawn


def test_of_very_many_ids_some_are_drawn_from_end_to_end(monkeypatch):
    monkeypatch.setattr(extreme_batches, "_ALL_IDS", 1000)
    by_kind, not_drawn = drawn(7, 4000)
    ids = np.unique(np.concatenate([batch.ravel() for batch in by_kind["ids"]]))
    assert (len(ids), ids[0], ids[-1], np.diff(ids).max()) == (1000, 7, 3999, 4)
    assert not_drawn == ['ids: all 3,993 of "ids"; 1,000 of them are']


def test_ids_of_the_largest_integers_do_not_overflow():
    by_kind, _ = drawn(-(2**62), 2**62)
    ids = np.concatenate([batch.ravel() for batch in by_kind["ids"]])
    assert (ids.min(), ids.max()) == (-(2**62), 2**62 - 1)
    assert max(batch.max() for batches in by_kind.values() for batch in batches) == 2**62 - 1


def test_many_named_ids_are_bounded_and_have_several_batches():
    by_kind, _ = drawn(7, 4000, named=list(range(100, 400, 3)))
    assert sum(len(batch) for batch in by_kind["ids alone"]) == 64
    assert max(len(batch) for batch in by_kind["ids alone"]) == 33


class Hidden(nn.Module):
    """Leaves out one id; and a table, which names none."""

    def forward(self, ids):
        return torch.where(ids == 577, 0, ids) + torch.arange(100)[ids % 100]


def test_numbers_that_a_graph_names_are_found():
    names: dict[str, Any] = {"input_names": ["ids"], "output_names": ["y"], "dynamic_shapes": ({0: "batch"},)}
    program = export_onnx(Hidden().eval(), (torch.zeros(2, 3, dtype=torch.int64),), **names)
    found = named_integers(program.model)
    assert 577 in found
    assert 57 not in found
    assert found == sorted(set(found))
