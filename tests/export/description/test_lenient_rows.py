"""Modules of other packages that pack sorted rows only, or cut results to the longest row, take rows as they come."""

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from kit.interface_modules import PACKED, MeanOfTrimmed, Trimmed, X
from rnnserve.export import Lengths, Publication
from rnnserve.export.description.described_model import describe_model

LENGTHS = np.array([2, 3, 1])

INPUTS = {"x": X, "lengths": Lengths()}


@pytest.mark.parametrize("name", PACKED)
def test_sorted_only_module_accepts_rows_in_any_order(name):
    publication = PACKED[name].publication(name)
    model = describe_model(publication)
    x = np.random.default_rng(0).normal(size=(3, 5, 3)).astype(np.float32)

    (found,) = model.module.run({"x": x, "lengths": LENGTHS}).values()

    with torch.no_grad():
        expected = PACKED[name].call(publication.module, torch.from_numpy(x), torch.from_numpy(LENGTHS))
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)


def test_trimmed_results_are_padded_to_the_steps_of_the_input():
    module = Trimmed().eval()
    model = describe_model(Publication(module, "trimmed", INPUTS, ["output"]))
    assert [axis.name for axis in model.outputs[0].axes][:2] == ["batch", "sequence"]
    x = torch.randn(3, 5, 3)

    (found,) = model.module.run({"x": x.numpy(), "lengths": LENGTHS}).values()

    with torch.no_grad():
        expected = module(x, torch.from_numpy(LENGTHS))
    np.testing.assert_array_equal(found[:, :3], expected.numpy())
    np.testing.assert_array_equal(found[:, 3:], 0.5)


class EverySecondOfTrimmed(Trimmed):
    def forward(self, x, lengths):
        return super().forward(x, lengths)[:, ::2]


def test_every_second_step_of_trimmed_results_follows_the_steps_of_the_input():
    model = describe_model(Publication(EverySecondOfTrimmed().eval(), "halved", INPUTS, ["output"]))
    assert model.module.is_lenient


def test_module_that_changes_its_results_is_left_unchanged():
    module = MeanOfTrimmed().eval()
    model = describe_model(Publication(module, "mean", INPUTS, ["mean"]))
    assert not model.module.is_lenient


def test_other_code_still_uses_pytorchs_packing():
    """The module's own call, and calls after it."""
    describe_model(PACKED["sorted"].publication("sorted"))
    x, lengths = torch.zeros(3, 5, 3), torch.from_numpy(LENGTHS)
    with pytest.raises(RuntimeError, match="must be sorted"):
        pack_padded_sequence(x, lengths, batch_first=True)
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    assert pad_packed_sequence(packed, batch_first=True)[0].shape == (3, 3, 3)
