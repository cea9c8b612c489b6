"""TorchScript must equal eager bit for bit."""

import copy

import pytest
import torch
from torch import Tensor, nn

from rnnserve.export import script
from rnnserve.export.parity import ParityError


class Wrapped(nn.Module):
    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier


class Reshaped(Wrapped):
    def forward(self, input: Tensor, lengths: Tensor, h_0: Tensor):
        logits, output, h_n = self.classifier(input, lengths, h_0)
        return logits.double(), output, h_n[0]


def test_script_that_differs_only_by_rounding_is_reported_but_accepted(subject):
    changed = copy.deepcopy(subject().classifier)
    with torch.no_grad():
        bias = changed.head.bias
        bias[0] = torch.nextafter(bias[0], torch.tensor(9.0))
    verification = subject().verify_parity(scripted=script(changed))
    assert verification.script_rounding.startswith('torchscript, bit for bit: "logits" at [')
    assert not any("torchscript" in check for check in verification.parity.checks)
    with torch.no_grad():
        bias[0] += 1e-3
    with pytest.raises(ParityError, match=r'^torchscript, bit for bit: "logits" at \['):
        subject().verify_parity(scripted=script(changed))


def test_script_that_differs_from_eager_is_caught(subject):
    said = ['dtypes: "logits" is float64; expected float32', 'torchscript, shapes: "h_n" of']
    with pytest.raises(ParityError) as raised:
        subject().verify_parity(scripted=script(Reshaped(subject().classifier)))
    assert [part for part in said if part not in str(raised.value)] == []
