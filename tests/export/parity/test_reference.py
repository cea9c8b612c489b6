"""How far rounding moves a module, with inputs or weights moved by an ulp; and results that are kept."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rnnserve.export.flat_module import Call, FlatModule, Slot
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


CALL = Call(("x",), (Slot("x"),))


def reference(module):
    return Reference(FlatModule(module.eval(), CALL, ["y"]), {"x": X[:1]})


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


class Counted(nn.Module):
    """Twice its input, and the input itself."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0), requires_grad=False)
        self.calls: list[torch.dtype] = []

    def forward(self, x):
        self.calls.append(x.dtype)
        return x * self.factor, x


def inputs(*values):
    return {"x": np.array(values, np.float32)}


def kept(**options):
    found = Reference(FlatModule(Counted(), CALL, ["y", "same"]), inputs(0.0), **options)
    modules: list[Any] = [found.module, found.double]
    for one in modules:
        one.module.calls.clear()
    return found


def test_reference_recomputes_inputs_that_differ_in_a_bit_or_a_shape():
    found = kept()
    for given in (np.zeros(1), -np.zeros(1), np.zeros(2), np.zeros((2, 1)), np.zeros((1, 2))):
        same = found.eager({"x": given.astype(np.float32)})["same"]
        assert (same.shape, np.signbit(same).any()) == (given.shape, np.signbit(given).any())
    assert len(found.module.module.calls) == 5


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_layers_beside_code_that_requests_float32_are_computed_in_float64(layer):
    class Narrow(nn.Module):
        def __init__(self, narrow):
            super().__init__()
            torch.manual_seed(0)
            self.layer, self.cell, self.narrow = layer(4, 5), nn.GRUCell(5, 5), narrow

        def forward(self, x):
            y = self.layer(self.narrow(x / 3))[0]
            return self.narrow(torch.stack([self.cell(self.narrow(step)) for step in y]))

    asked, free = (reference(Narrow(narrow)).exact({"x": X})["y"] for narrow in (torch.Tensor.float, lambda x: x))
    assert asked.dtype == np.float64
    np.testing.assert_array_equal(asked, free)
