"""A forward that takes only some sizes of two axes together: the refusal says which, and what to write."""

import pytest
import torch
from torch import nn

from rnnserve.export import Floats, Publication, WrongArguments
from rnnserve.export.description.described_model import describe_model


class Vocoder(nn.Module):
    """Takes samples and frames of so many samples each."""

    def __init__(self, times, more=0):
        super().__init__()
        self.times, self.more = times, more
        self.gru = nn.GRU(5, 4, batch_first=True)

    def forward(self, wav, mel):
        mel = mel.repeat_interleave(self.times, dim=1)
        return self.gru(torch.cat([wav[:, self.more :].unsqueeze(-1), mel], 2))[0]


class Joined(Vocoder):
    """The same, as the refusal says."""

    def forward(self, wav, mel):
        return super().forward(wav.flatten(1, 2), mel)


FRAMES = Floats("batch", "frames", 4)


def refusal(module, inputs):
    with pytest.raises(WrongArguments, match=r"^forward does not take inputs as described") as refused:
        describe_model(Publication(module.eval(), "vocoder", inputs, ["y"]))
    return str(refused.value)


@pytest.mark.parametrize("times", [2, 4, 256])
def test_it_says_how_many_steps_each_has(times):
    said = refusal(Vocoder(times), {"wav": Floats("batch", "samples"), "mel": FRAMES})
    assert f'in the list. It runs where "samples" has {times} steps for each of "frames"' in said
    own = {"wav": Floats("batch", "frames", times), "mel": FRAMES}
    assert f'("batch", "frames", {times})' in said
    assert describe_model(Publication(Joined(times).eval(), "vocoder", own, ["y"])).outputs


def test_it_says_that_they_are_one():
    said = refusal(Vocoder(1), {"wav": Floats("batch", "samples"), "mel": FRAMES})
    assert said.endswith("have as many steps: give both axes one name")
    assert describe_model(
        Publication(Vocoder(1).eval(), "vocoder", {"wav": Floats("batch", "frames"), "mel": FRAMES}, ["y"])
    )


def test_it_says_nothing_where_it_finds_nothing():
    said = refusal(Vocoder(4, more=1), {"wav": Floats("batch", "samples"), "mel": FRAMES})
    assert "It runs where" not in said
    assert "It runs where" not in refusal(Vocoder(4), {"wav": Floats("batch", "frames"), "mel": FRAMES})
