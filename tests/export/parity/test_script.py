"""TorchScript must be eager bit for bit."""

import copy

import pytest
import torch

from rnnserve.export import script
from rnnserve.export.parity import ParityError


def caught(subject, scripted) -> str:
    with pytest.raises(ParityError) as raised:
        subject.prove(scripted=scripted)
    return str(raised.value)


def test_one_weight_that_is_off_by_one_bit(subject):
    changed = copy.deepcopy(subject().classifier)
    with torch.no_grad():
        weight = changed.head.bias
        weight[0] = torch.nextafter(weight[0], torch.tensor(9.0))
    message = caught(subject(), script(changed))
    assert 'torchscript, bit for bit: "logits" at [' in message
    assert '"h_n"' not in message


def test_other_names(subject):
    class Renamed(torch.nn.Module):
        def __init__(self, classifier):
            super().__init__()
            self.classifier = classifier

        def forward(self, points: torch.Tensor, lengths: torch.Tensor, h_0: torch.Tensor):
            return self.classifier(points, lengths, h_0)

    message = caught(subject(), script(Renamed(subject().classifier)))
    assert message == (
        'torchscript, names: forward takes "points", "lengths", "h_0"; expected "input", "lengths", "h_0"'
    )


def test_other_results(subject):
    class Fewer(torch.nn.Module):
        def __init__(self, classifier):
            super().__init__()
            self.classifier = classifier

        def forward(self, input: torch.Tensor, lengths: torch.Tensor, h_0: torch.Tensor):
            logits, output, _ = self.classifier(input, lengths, h_0)
            return logits, output

    message = caught(subject(), script(Fewer(subject().classifier)))
    assert "torchscript, names: forward does not give the tensors logits, output, h_n" in message


def test_other_shapes_and_dtypes(subject):
    class Other(torch.nn.Module):
        def __init__(self, classifier):
            super().__init__()
            self.classifier = classifier

        def forward(self, input: torch.Tensor, lengths: torch.Tensor, h_0: torch.Tensor):
            logits, output, h_n = self.classifier(input, lengths, h_0)
            return logits.double(), output, h_n[0]

    message = caught(subject(), script(Other(subject().classifier)))
    assert 'torchscript, dtypes: "logits" is float64; expected float32' in message
    assert 'torchscript, shapes: "h_n" of' in message
