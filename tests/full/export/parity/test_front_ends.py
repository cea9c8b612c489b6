"""Samples are offered where a module begins with a front end, and nowhere else."""

import pytest
import torch
from torch import nn

from rnnserve.export import Floats, publish


class _Before(nn.Module):
    """A GRU, with something before it and after it."""

    def __init__(self, before, after=lambda y: y):
        super().__init__()
        self.before, self.after = before, after
        self.gru = nn.GRU(4, 3, batch_first=True)

    def forward(self, x):
        return self.after(self.gru(self.before(x))[0])


def _published(tmp_path, module, samples=()):
    torch.manual_seed(0)
    result = publish(
        module.eval(),
        "front",
        repository=tmp_path,
        inputs={"x": Floats("batch", "sequence", 4)},
        outputs=["y"],
        samples=samples,
        progress=False,
    )
    return [line for line in result.manifest.parity.not_drawn if line.startswith("samples")]


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (lambda x: torch.fft.rfft(x, n=6).abs(), "a Fourier transform"),
        (lambda x: (x.square() + 1e-6).log(), "a logarithm"),
    ],
)
def test_a_front_end_is_recognised(tmp_path, before, words):
    (line,) = _published(tmp_path, _Before(before))
    assert line == f"samples: the model begins with {words}: give real recordings, samples=[…]"


def test_given_samples_are_not_asked_for(tmp_path):
    module = _Before(lambda x: (x.square() + 1e-6).log())
    assert _published(tmp_path, module, samples=[{"x": torch.randn(2, 5, 4).numpy()}]) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (lambda x: x.tanh(), lambda y: y),
        (lambda x: x, lambda y: (y.square() + 1e-6).log()),
        (lambda x: x, nn.LogSoftmax(-1)),
    ],
)
def test_what_comes_behind_the_recurrence_is_none(tmp_path, before, after):
    assert _published(tmp_path, _Before(before, after)) == []
