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


class Renamed(Wrapped):
    def forward(self, points: Tensor, lengths: Tensor, h_0: Tensor):
        return self.classifier(points, lengths, h_0)


class Fewer(Wrapped):
    def forward(self, input: Tensor, lengths: Tensor, h_0: Tensor):
        logits, output, _ = self.classifier(input, lengths, h_0)
        return logits, output


class Reshaped(Wrapped):
    def forward(self, input: Tensor, lengths: Tensor, h_0: Tensor):
        logits, output, h_n = self.classifier(input, lengths, h_0)
        return logits.double(), output, h_n[0]


def one_bit_off(classifier):
    changed = copy.deepcopy(classifier)
    with torch.no_grad():
        bias = changed.head.bias
        bias[0] = torch.nextafter(bias[0], torch.tensor(9.0))
    return changed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (one_bit_off, ['torchscript, bit for bit: "logits" at [']),
        (Renamed, ['forward takes "points", "lengths", "h_0"; expected "input", "lengths", "h_0"']),
        (Fewer, ["torchscript, names: forward does not give the tensors logits, output, h_n"]),
        (Reshaped, ['dtypes: "logits" is float64; expected float32', 'torchscript, shapes: "h_n" of']),
    ],
)
def test_script_that_differs_from_eager_is_caught(subject, change, said):
    with pytest.raises(ParityError) as raised:
        subject().prove(scripted=script(change(subject().classifier)))
    assert [part for part in said if part not in str(raised.value)] == []
