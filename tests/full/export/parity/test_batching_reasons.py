"""What a module that cannot share a padded run is told: which output changes, by how much, and at which step."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from kit.own_modules import own_module
from rnnserve.export import Floats, Lengths, Publication
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.parity.batching_safety import find_batching
from rnnserve.export.parity.proof import reference_of
from rnnserve.export.parity.tolerances import limits_for
from rnnserve.protos import manifest_pb2


class Reversed(nn.Module):
    """Flips the padded sequence, so that the padding comes first."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(2, 5, batch_first=True)

    def forward(self, x, lengths):
        before = torch.arange(x.size(1)) < lengths[:, None]
        return self.gru(x.flip(1))[0].flip(1) * before[..., None]


class Subsampled(nn.Module):
    """Gives half as many steps as it takes; those after the last are zeros, or the bias of its head."""

    def __init__(self, *, masked):
        super().__init__()
        self.gru = nn.GRU(2, 5, batch_first=True)
        self.head = nn.Linear(5, 3)
        self.masked = masked

    def forward(self, x, lengths):
        halves = (lengths + 1) // 2
        packed = pack_padded_sequence(x[:, ::2], halves, batch_first=True, enforce_sorted=False)
        output, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=(x.size(1) + 1) // 2)
        scores = self.head(output)
        if self.masked:
            scores = scores * (torch.arange(scores.size(1)) < halves[:, None])[..., None]
        return nn.functional.pad(scores, (0, 0, 0, x.size(1) - scores.size(1)))


def batching(kind):
    inputs = {"x": Floats("batch", "sequence", 2), "lengths": Lengths()}
    model = describe_model(Publication(own_module(kind).eval(), "model", inputs, ["y"]))
    return find_batching(model, reference_of(model), limits_for("cpu"), 0)


def test_the_step_is_named_where_the_padding_counts():
    found = batching(Reversed)
    assert found.mode == manifest_pb2.BATCHING_JOINED
    values, amount = found.reasons
    assert "when the values after its length change" in values
    assert '" of a row changes by 0.' in values
    assert " at sequence " in values
    assert " when up to 9 steps of padding are added" in amount


@pytest.mark.parametrize("masked", [True, False])
def test_an_output_of_fewer_steps_is_zero_after_them(masked):
    found = batching(lambda: Subsampled(masked=masked))
    if masked:
        assert found.mode == manifest_pb2.BATCHING_PADDED
        return
    (reason,) = found.reasons
    assert " at sequence " in reason
    assert reason.endswith("An output of fewer steps than its input has to be zero after them")
