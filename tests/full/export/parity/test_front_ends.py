"""Parity asks for real samples if a module begins with a front end, such as a Fourier transform."""

import pytest
import torch
from torch import nn

from rnnserve.export import Floats, publish


class Between(nn.Module):
    """A GRU with a function before it and one after it."""

    def __init__(self, before, after):
        super().__init__()
        self.before, self.after = before, after
        self.gru = nn.GRU(4, 3, batch_first=True)

    def forward(self, x):
        return self.after(self.gru(self.before(x))[0])


def logarithm(x):
    return (x.square() + 1e-6).log()


@pytest.mark.parametrize(
    ("before", "after", "samples", "words"),
    [
        (logarithm, torch.tanh, [], "a logarithm"),
        (logarithm, torch.tanh, [{"x": torch.ones(2, 5, 4).numpy()}], None),
        (lambda x: x, logarithm, [], None),
    ],
    ids=["logarithm", "samples given", "behind the recurrence"],
)
def test_samples_are_asked_for_only_behind_a_front_end(tmp_path, before, after, samples, words):
    torch.manual_seed(0)
    module, inputs = Between(before, after).eval(), {"x": Floats("batch", "sequence", 4)}
    done = publish(module, "front", repository=tmp_path, inputs=inputs, outputs=["y"], samples=samples, progress=False)
    lines = [line for line in done.manifest.parity.not_drawn if line.startswith("samples")]
    assert lines == ([f"samples: the model begins with {words}: give real recordings, samples=[…]"] if words else [])
