"""How far rounding moves a module: with inputs moved by an ulp, or weights if moved inputs show nothing."""

import numpy as np
import pytest
import torch
from torch import nn

from rnnserve.export.module_interface import ModuleInterface
from rnnserve.export.parity.reference import Reference

X = np.random.default_rng(0).standard_normal((3, 2, 4)).astype(np.float32)  # (sequence, batch, features)


class Recurrent(nn.Module):
    """A layer that begins with zeros, and may not be copied or run with other weights."""

    def __init__(self, *, copied=True, own_weights=False):
        super().__init__()
        torch.manual_seed(0)
        self.gru = nn.GRU(4, 5)
        self.register_buffer("wide", torch.ones(1).expand(5))
        self.sum = float(next(self.parameters()).detach().sum()) if own_weights else None
        if not copied:
            self.plain = next(self.parameters()) * 2  # torch copies no result that requires gradients

    def forward(self, x):
        if self.sum not in (None, float(next(self.parameters()).detach().sum())):
            raise ValueError("other weights")
        return self.gru(x, torch.zeros(1, x.size(1), 5))[0] * self.wide


def reference(module):
    return Reference(module.eval(), ModuleInterface(("x",), ("y",)), {"x": X[:1]})


def test_eight_runs_with_moved_weights_show_the_rounding_of_zeros():
    """Zeros are zeros an ulp on: eight runs with moved inputs would be one."""
    module = Recurrent()
    found, before = reference(module), {name: value.clone() for name, value in module.state_dict().items()}
    zeros = {"x": np.zeros_like(X)}
    eager, runs = found.eager(zeros)["y"], [each["y"] for each in found.moved_weights(zeros)]
    assert len(runs) == 8
    assert len({run.tobytes() for run in runs}) > 1
    assert 0 < max(np.abs(run - eager).max() for run in runs) < 1e-6
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("how", [{"copied": False}, {"own_weights": True}])
def test_module_that_cannot_run_with_other_weights_has_no_moved_runs(how):
    found = reference(Recurrent(**how))
    assert found.eager({"x": X})["y"].size
    assert not list(found.moved_weights({"x": X}))
