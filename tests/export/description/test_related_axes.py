"""A forward that takes only related sizes of two axes: the refusal names the relation and how to describe it."""

import pytest
import torch
from torch import nn

from rnnserve.export import Floats, Publication, WrongArguments
from rnnserve.export.description.described_model import describe_model

FRAMES = Floats("batch", "frames", 4)
SAMPLES = Floats("batch", "samples")


class Vocoder(nn.Module):
    """Takes samples, and frames of so many samples each."""

    def __init__(self, times, more=0):
        super().__init__()
        self.times, self.more = times, more
        self.gru = nn.GRU(5, 4, batch_first=True)

    def forward(self, wav, mel):
        wav = wav.flatten(1, 2) if wav.dim() == 3 else wav
        mel = mel.repeat_interleave(self.times, dim=1)
        return self.gru(torch.cat([wav[:, self.more :].unsqueeze(-1), mel], 2))[0]


def describe(module, wav):
    return describe_model(Publication(module.eval(), "vocoder", {"wav": wav, "mel": FRAMES}, ["y"]))


def refusal(module, wav):
    with pytest.raises(WrongArguments, match=r"^forward does not take inputs as described") as refused:
        describe(module, wav)
    return str(refused.value)


@pytest.mark.parametrize("times", [2, 4])
def test_number_of_steps_for_each_other_step_is_named(times):
    said = refusal(Vocoder(times), SAMPLES)
    assert f'It runs where "samples" has {times} steps for each of "frames"' in said
    assert f'("batch", "frames", {times})' in said
    assert describe(Vocoder(times), Floats("batch", "frames", times)).outputs


def test_axes_of_equal_sizes_are_named():
    assert refusal(Vocoder(1), SAMPLES).endswith("have as many steps: give both axes one name")
    assert describe(Vocoder(1), Floats("batch", "frames")).outputs


def test_nothing_is_advised_without_a_relation():
    assert "It runs where" not in refusal(Vocoder(4, more=1), SAMPLES)
    assert "It runs where" not in refusal(Vocoder(4), Floats("batch", "frames"))
