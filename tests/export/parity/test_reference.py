"""The reference in float64 of modules that make tensors of float32 themselves, and how far rounding moves a module."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from rnnserve.export.module_interface import ModuleInterface
from rnnserve.export.parity.reference import FLOAT64, MOVED, Reference, moved_inputs

X = np.random.default_rng(0).standard_normal((3, 2, 4)).astype(np.float32)  # (sequence, batch, features)


class Pair(NamedTuple):
    one: torch.Tensor
    other: torch.Tensor


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.gru = nn.GRU(4, 5)
        self.plain = torch.randn(5)  # no buffer, so that .double() does not reach it


class Zeros(Base):
    def forward(self, x):
        return self.gru(x, torch.zeros(1, x.size(1), 5))[0]


class Masks(Base):
    def forward(self, x):
        return self.gru(x)[0] @ torch.eye(5) * (x > 0).float().mean(-1, keepdim=True)


class Types(Base):
    def forward(self, x):
        state = torch.full((1, 1), 0.5, dtype=torch.float32).expand(x.size(1), 5).contiguous().unsqueeze(0)
        return (self.gru(x.to(torch.float32), state)[0] @ self.plain.unsqueeze(1)).type(torch.float32)


class Lists(Base):
    def forward(self, x):
        pair = Pair(torch.ones(5), torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))
        return torch.stack([*pair, torch.cat([torch.zeros(2), pair.one[:3]])]) @ self.gru(x)[0].transpose(1, 2)


class Written(Base):
    """What forward writes to a tensor of float32 that it holds does not reach it in float64."""

    def forward(self, x):
        self.plain.zero_().add_(x.mean())
        return self.gru(x, torch.zeros(1, x.size(1), 5))[0] * self.plain


def reference(module):
    return Reference(module.eval(), ModuleInterface(("x",), ("y",)), {"x": X[:1]})


@pytest.mark.parametrize("module", [Zeros, Masks, Types, Lists])
def test_what_a_module_makes_of_float32_is_float64(module):
    found = reference(module())
    (eager,), (exact,) = (each({"x": X}).values() for each in (found.eager, found.exact))
    assert (found.exact_by, exact.dtype) == (FLOAT64, np.float64)
    assert 0 < np.abs(eager - exact).max() < 1e-6
    assert eager.dtype == np.float32


def test_the_module_itself_stays_in_float32():
    module = Zeros()
    reference(module)
    assert module.gru.weight_ih_l0.dtype == module(torch.from_numpy(X)).dtype == torch.float32


def test_a_module_whose_values_are_lost_in_float64_is_judged_by_moved_inputs():
    assert reference(Written()).exact_by == MOVED


def test_rounding_of_inputs_that_cannot_be_moved_is_that_of_moved_weights():
    """Zeros are zeros an ulp on, so that eight runs would be one, and as near to float64 as it is by luck."""
    module = Zeros()
    found = reference(module)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    zeros = {"x": np.zeros_like(X)}
    eager, runs = found.eager(zeros)["y"], [each["y"] for each in found.moved(zeros)]
    assert len(runs) == 8
    assert len({run.tobytes() for run in runs}) > 1
    assert 0 < max(np.abs(run - eager).max() for run in runs) < 1e-6
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_weights_stay_where_inputs_can_be_moved():
    found = reference(Zeros())
    expected = [found.eager(each)["y"].tobytes() for each in moved_inputs({"x": X})]
    assert [run["y"].tobytes() for run in found.moved({"x": X})] == expected


def test_buffers_that_are_expanded_are_moved():
    module = Zeros()
    module.register_buffer("wide", torch.ones(1).expand(5))
    assert len(list(reference(module).moved({"x": np.zeros_like(X)}))) == 8


def test_a_module_that_cannot_be_copied_has_its_inputs_moved_only():
    module = Zeros()
    module.plain = next(module.parameters()) * 2  # torch copies no result of what requires gradients
    zeros = {"x": np.zeros_like(X)}
    found = reference(module)
    assert {run["y"].tobytes() for run in found.moved(zeros)} == {found.eager(zeros)["y"].tobytes()}
