"""Steps of so many operators that parity compares shorter sequences, and how the record names it."""

import dataclasses

import pytest
import torch
from torch import nn

from rnnserve.export import Floats, Publication
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.parity.batches import ExtremeBatches


class Unfolded(nn.Module):
    """A loop over steps, with a loop of so many operators in each."""

    def __init__(self, unfolds):
        super().__init__()
        self.unfolds = unfolds

    def forward(self, x):
        h, outputs = torch.zeros_like(x[:, 0]), []
        for t in range(x.size(1)):
            h = h + x[:, t]
            for _ in range(self.unfolds):
                h = h * 0.5
            outputs.append(h)
        return torch.stack(outputs, 1)


@pytest.mark.parametrize(("unfolds", "longest"), [(120, 3000), (140, 1000)])
def test_longest_sequence_depends_on_the_operators_of_a_step(unfolds, longest):
    model = describe_model(Publication(Unfolded(unfolds), "model", {"x": Floats("batch", "sequence", 2)}, ["y"]))
    assert model.longest == longest


def test_record_names_the_lengths_that_were_not_compared():
    model = describe_model(Publication(Unfolded(1), "model", {"x": Floats("batch", "sequence", 2)}, ["y"]))
    for longest in (1000, 300):
        batches = ExtremeBatches(dataclasses.replace(model, longest=longest), 0, computes_with_sizes=True)
        assert max(batch.length for batch in batches if batch.kind in ("long", "uneven lengths")) == longest
        assert batches.drawn["long"] == f"up to {longest:,} steps"
        (said,) = [line for line in batches.not_drawn if line.startswith("long: ")]
        assert said.startswith(f'long: more than {longest:,} steps of "sequence", for which the module runs too many')
