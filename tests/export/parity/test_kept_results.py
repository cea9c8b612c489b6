"""Results that are kept are those of the same module and inputs, bit for bit, and as many as there is room for."""

import numpy as np
import pytest
import torch
from torch import nn

from rnnserve.export.module_interface import ModuleInterface
from rnnserve.export.parity import Reference
from rnnserve.export.parity.kept_results import KeptResults


class Counted(nn.Module):
    """Twice its input, and the input itself."""

    def __init__(self, factor=2.0):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor), requires_grad=False)
        self.calls: list[torch.dtype] = []

    def forward(self, x):
        self.calls.append(x.dtype)
        return x * self.factor, x


INTERFACE = ModuleInterface(("x",), ("y", "same"), {})


def inputs(*values, dtype=np.float32):
    return {"x": np.array(values, dtype)}


def kept(module, **options):
    reference = KeptResults(module, INTERFACE, inputs(0.0), **options)
    for one in (reference.module, reference.double):
        assert isinstance(one, Counted)
        one.calls.clear()
    return reference


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].tobytes()) == (array.dtype, array.tobytes())


def test_the_same_inputs_are_computed_once():
    reference, new = kept(Counted()), Reference(Counted(), INTERFACE, inputs(0.0))
    for _ in range(3):
        for given in (inputs(1, 1e-9), inputs(3)):
            assert_same(reference.eager(given), new.eager(given))
            assert_same(reference.exact(given), new.exact(given))
    assert reference.module.calls == [torch.float32] * 2
    assert reference.double.calls == [torch.float64] * 2


def test_inputs_that_differ_in_a_bit_a_shape_or_a_dtype_are_others():
    reference = kept(Counted())
    for given in (
        inputs(0.0),
        inputs(-0.0),
        inputs(0.0, 0.0),
        {"x": np.zeros((2, 1), np.float32)},
        {"x": np.zeros((1, 2), np.float32)},
    ):
        assert_same(reference.eager(given), Reference(Counted(), INTERFACE, inputs(0.0)).eager(given))
    assert len(reference.module.calls) == 5
    reference.exact(inputs(0.0))
    reference.exact(inputs(0.0, dtype=np.float64))
    assert len(reference.double.calls) == 2


def test_another_module_has_results_of_its_own():
    one, other = kept(Counted(2.0)), kept(Counted(3.0))
    assert [reference.eager(inputs(1))["y"] for reference in (one, other, one)] == [2, 3, 2]


def test_what_is_kept_is_no_part_of_the_inputs_and_cannot_be_written():
    reference, given = kept(Counted()), inputs(1, 2)
    reference.eager(given)
    given["x"][:] = 7
    again = reference.eager(inputs(1, 2))
    assert again["same"].tolist() == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        again["same"][0] = 3
    again.clear()
    assert_same(
        reference.eager(inputs(1, 2)), {"y": np.array([2, 4], np.float32), "same": np.array([1, 2], np.float32)}
    )


def test_what_has_no_room_is_computed_each_time():
    reference = kept(Counted(), most_bytes=2 * 4 * 3)
    for given, calls in ((inputs(1, 2), 1), (inputs(1, 2), 1), (inputs(5, 6), 2), (inputs(5, 6), 3), (inputs(5), 4)):
        assert_same(reference.eager(given), {"y": given["x"] * 2, "same": given["x"]})
        assert len(reference.module.calls) == calls
    reference.eager(inputs(5))
    assert len(reference.module.calls) == 4
