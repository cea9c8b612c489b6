"""How far rounding moves a module: by inputs that are moved by an ulp, and by weights where these tell nothing."""

import numpy as np
import torch
from torch import nn

from rnnserve.export.module_interface import ModuleInterface
from rnnserve.export.parity.reference import Reference

X = np.random.default_rng(0).standard_normal((3, 2, 4)).astype(np.float32)  # (sequence, batch, features)


class Zeros(nn.Module):
    """A layer that begins with zeros."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.gru = nn.GRU(4, 5)
        self.plain = torch.ones(5)

    def forward(self, x):
        return self.gru(x, torch.zeros(1, x.size(1), 5))[0]


def reference(module):
    return Reference(module.eval(), ModuleInterface(("x",), ("y",)), {"x": X[:1]})


def test_rounding_of_inputs_that_cannot_be_moved_is_that_of_moved_weights():
    """Zeros are zeros an ulp on, so that eight runs would be one, and as near to float64 as it is by luck."""
    module = Zeros()
    found = reference(module)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    zeros = {"x": np.zeros_like(X)}
    eager, runs = found.eager(zeros)["y"], [each["y"] for each in found.moved_weights(zeros)]
    assert len(runs) == 8
    assert len({run.tobytes() for run in runs}) > 1
    assert 0 < max(np.abs(run - eager).max() for run in runs) < 1e-6
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_buffers_that_are_expanded_are_moved():
    module = Zeros()
    module.register_buffer("wide", torch.ones(1).expand(5))
    assert len(list(reference(module).moved_weights({"x": np.zeros_like(X)}))) == 8


def test_a_module_that_cannot_be_copied_has_no_moved_weights():
    module = Zeros()
    module.plain = next(module.parameters()) * 2  # torch copies no result of what requires gradients
    assert not list(reference(module).moved_weights({"x": X}))


class OwnWeightsOnly(Zeros):
    """Raises where its weights are not its own, as a distribution does whose probabilities do not add up to 1."""

    def __init__(self):
        super().__init__()
        self.sum = float(next(self.parameters()).detach().sum())

    def forward(self, x):
        if float(next(self.parameters()).detach().sum()) != self.sum:
            raise ValueError("other weights")
        return super().forward(x)


def test_a_module_that_raises_with_other_weights_has_no_moved_ones():
    found = reference(OwnWeightsOnly())
    assert found.eager({"x": X})["y"].size
    assert not list(found.moved_weights({"x": X}))
