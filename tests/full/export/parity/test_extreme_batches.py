"""Extreme batches of integers: vocabularies of any size, and numbers that a graph names."""

from typing import Any

import numpy as np
import torch
from torch import nn

from rnnserve.export import Integers, Publication, export_onnx
from rnnserve.export.description.described_model import describe_model
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


def test_ids_of_the_largest_integers_do_not_overflow():
    by_kind, _ = drawn(-(2**62), 2**62)
    ids = np.concatenate([batch.ravel() for batch in by_kind["ids"]])
    assert (ids.min(), ids.max()) == (-(2**62), 2**62 - 1)
    assert max(batch.max() for batches in by_kind.values() for batch in batches) == 2**62 - 1


class Hidden(nn.Module):
    """Leaves out one id; and a table, which names none."""

    def forward(self, ids):
        return torch.where(ids == 577, 0, ids) + torch.arange(100)[ids % 100]


def test_integers_named_in_a_graph_are_found():
    names: dict[str, Any] = {"input_names": ["ids"], "output_names": ["y"], "dynamic_shapes": ({0: "batch"},)}
    program = export_onnx(Hidden().eval(), (torch.zeros(2, 3, dtype=torch.int64),), **names)
    found = named_integers(program.model)
    assert 577 in found
    assert 57 not in found
    assert found == sorted(set(found))
