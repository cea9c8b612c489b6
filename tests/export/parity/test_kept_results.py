"""A reference that keeps results gives those of the same module and inputs, bit for bit, as far as there is room."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rnnserve.export.module_interface import ModuleInterface
from rnnserve.export.parity import Reference


class Counted(nn.Module):
    """Twice its input, and the input itself."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0), requires_grad=False)
        self.calls: list[torch.dtype] = []

    def forward(self, x):
        self.calls.append(x.dtype)
        return x * self.factor, x


INTERFACE = ModuleInterface(("x",), ("y", "same"))


def inputs(*values):
    return {"x": np.array(values, np.float32)}


def kept(**options):
    reference = Reference(Counted(), INTERFACE, inputs(0.0), **options)
    modules: list[Any] = [reference.module, reference.double]
    for one in modules:
        one.calls.clear()
    return reference


def test_same_inputs_are_computed_once():
    reference, new = kept(), kept(most_bytes=0)
    for _ in range(3):
        for given in (inputs(1, 1e-9), inputs(3)):
            for compute in ("eager", "exact"):
                found, expected = getattr(reference, compute)(given), getattr(new, compute)(given)
                assert {n: (a.dtype, a.tobytes()) for n, a in found.items()} == {
                    n: (a.dtype, a.tobytes()) for n, a in expected.items()
                }
    assert reference.module.calls == [torch.float32] * 2
    assert reference.double.calls == [torch.float64] * 2


def test_inputs_that_differ_in_a_bit_or_a_shape_are_computed():
    reference = kept()
    for given in (np.zeros(1), -np.zeros(1), np.zeros(2), np.zeros((2, 1)), np.zeros((1, 2))):
        found = reference.eager({"x": given.astype(np.float32)})["same"]
        assert (found.shape, np.signbit(found).any()) == (given.shape, np.signbit(given).any())
    assert len(reference.module.calls) == 5


def test_kept_results_do_not_change_with_the_inputs_and_are_read_only():
    reference, given = kept(), inputs(1, 2)
    reference.eager(given)
    given["x"][:] = 7
    again = reference.eager(inputs(1, 2))
    assert again["same"].tolist() == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        again["same"][0] = 3
    again.clear()
    assert reference.eager(inputs(1, 2))["y"].tolist() == [2, 4]


def test_results_without_room_are_computed_each_time():
    reference = kept(most_bytes=2 * 4 * 3)
    for given, calls in ((inputs(1, 2), 1), (inputs(1, 2), 1), (inputs(5, 6), 2), (inputs(5, 6), 3), (inputs(5), 4)):
        assert reference.eager(given)["same"].tolist() == given["x"].tolist()
        assert len(reference.module.calls) == calls
