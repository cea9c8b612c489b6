"""Complex numbers inside a module, written as pairs of real ones: operator by operator, and recurrences."""

import numpy as np
import pytest
import torch
from torch import nn

from kit.complex_modules import LRU, OPERATIONS, S4D, Operations
from rnnserve.export import UnsupportedModule

SHAPES = ({0: "batch", 1: "sequence"},)
SIZES = ((1, 1), (3, 4), (2, 7))


@pytest.fixture(scope="module")
def operations(exported_once):
    torch.manual_seed(0)
    return exported_once(Operations().eval(), (torch.randn(2, 5, 3, 2),), SHAPES)


@pytest.fixture(scope="module")
def exported_once():
    from export.recurrence.conftest import Exported

    return Exported


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operator_equals_eager(operations, name):
    at = list(OPERATIONS).index(name)
    for batch, sequence in SIZES:
        x = torch.randn(batch, sequence, 3, 2)
        with torch.no_grad():
            expected = operations.module(x)[at].numpy()
        np.testing.assert_allclose(operations.run(x)[at], expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e3, 1e15])
@pytest.mark.parametrize("name", ["abs", "a quotient", "the inverse", "angle"])
def test_no_square_overflows(operations, name, scale):
    at = list(OPERATIONS).index(name)
    x = torch.randn(2, 3, 3, 2) * scale
    with torch.no_grad():
        expected = operations.module(x)[at].numpy()
    np.testing.assert_allclose(operations.run(x)[at], expected, rtol=1e-5)


@pytest.mark.parametrize("make", [LRU, S4D])
def test_recurrences_with_complex_states_and_kernels(exported, make):
    torch.manual_seed(0)
    module = make().eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    result = exported(module, (torch.randn(2, 5, 3),), SHAPES)
    for batch, sequence in SIZES:
        result.agrees(torch.randn(batch, sequence, 3), limit=2e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert ("Scan" in result.operators) == (make is LRU)


class Unknown(nn.Module):
    def forward(self, x):
        return torch.tanh(torch.view_as_complex(x)).real


class GivesComplex(nn.Module):
    def forward(self, x):
        return torch.view_as_complex(x) * 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Unknown, r"^tanh \(at test_complex_numbers\.py:\d+\) of complex numbers has no form in reals here\. Write it"),
        (GivesComplex, r"^the module gives complex numbers; return torch\.view_as_real of them$"),
    ],
)
def test_what_has_no_form_is_refused(exported, make, message):
    with pytest.raises(UnsupportedModule, match=message):
        exported(make(), (torch.randn(2, 5, 3, 2),), SHAPES)
