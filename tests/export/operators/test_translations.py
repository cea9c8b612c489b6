"""Translations that replace those of torch's exporter: the results of eager, or a refusal that names the operator."""

import math

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F

from kit.operator_uses import ExportedUses, check_uses
from kit.translated_uses import NUMBERS, RIGHT, X
from rnnserve.export.errors import UnsupportedModule
from rnnserve.server.errors import InvalidRequest
from rnnserve.server.repository.model import reraise

STEPS = {0: "batch", 1: "sequence"}
_SIX = torch.arange(6.0)


def test_translations_equal_eager():
    check_uses(RIGHT, X.float(), rtol=2e-6, atol=1e-6)


def test_integers_and_floats_can_be_mixed():
    check_uses(NUMBERS, torch.tensor([[-2.0, -0.3, 0.0, 0.2], [0.7, 1.2, 3.0, 1e-9]]), rtol=1.3e-6, atol=1e-5)


def test_operator_without_a_kernel_is_refused_by_name():
    with pytest.raises(UnsupportedModule, match=r"Erf in float64.*\.float\(\)"):
        check_uses({"erf": torch.erf}, X, rtol=0, atol=0)


@pytest.mark.parametrize("operator", ["Add", "Mul"])
def test_every_constant_is_in_the_graph(operator):
    """Torch's own optimizer treats small constants as 0 and constants near 1 as 1."""
    constants = [*(10.0**-power for power in range(1, 13)), 1e-38, 1e-40, 1 + 2.0**-23, 1 - 2.0**-24]
    compute = torch.add if operator == "Add" else torch.mul
    uses = {str(c): lambda x, c=c: compute(x, c) for c in constants}
    graph = ExportedUses(uses, torch.zeros(3, 4)).model.graph
    held = {onnx.numpy_helper.to_array(tensor).item() for tensor in graph.initializer if not tensor.dims}
    assert held >= {np.float32(constant).item() for constant in constants}
    assert sum(node.op_type == operator for node in graph.node) == len(constants)


def test_pools_are_right_at_every_length():
    uses = {
        "adaptive_avg_pool1d": lambda x: F.adaptive_avg_pool1d(x, 1),
        "adaptive_max_pool1d": lambda x: F.adaptive_max_pool1d(x, 1),
        "adaptive_avg_pool2d of a fixed axis": lambda x: F.adaptive_avg_pool2d(x[:, None, :, None] + _SIX, (None, 2)),
        "adaptive_max_pool2d of a fixed axis": lambda x: F.adaptive_max_pool2d(
            x[:, None, None] + _SIX[:, None], (3, 1)
        ),
        "max_pool1d": lambda x: F.max_pool1d(x, 3, 2, 1),
        "conv3d without a bias": lambda x: F.conv3d(x[:, None, :, None, None], torch.ones(1, 1, 1, 1, 1) / 3),
        "avg_pool1d with ceil_mode": lambda x: F.avg_pool1d(x, 3, ceil_mode=True),
    }
    exported = ExportedUses(uses, torch.zeros(2, 12), axes=STEPS, sizes={"sequence": (8, None)})
    for length in (8, 9, 12, 31, 257):
        exported.check(torch.randn(2, length), rtol=1e-5, atol=1e-6)


def test_interpolation_uses_the_same_steps_as_eager_at_every_length():
    uses = {
        "nearest": lambda x: F.interpolate(x[:, None], scale_factor=0.3),
        "nearest to a size": lambda x: F.interpolate(x[:, None], size=41),
        "nearest in two axes": lambda x: F.interpolate(x[:, None, None].repeat(1, 1, 3, 1), scale_factor=(2.0, 0.7)),
    }
    exported = ExportedUses(uses, torch.zeros(2, 20), axes=STEPS, sizes={"sequence": (10, None)})
    for length in (10, 11, 37, 130, 999):
        exported.check(torch.arange(length).float().sin()[None] * 10, rtol=1e-6, atol=1e-5)


def test_squeeze_keeps_an_axis_larger_than_1():
    uses = {
        "one axis": lambda x: x.squeeze(2),
        "from the end": lambda x: x.squeeze(-1),
        "several": lambda x: x[:, None, :, None].squeeze((1, 3, -1)),
        "of a sum": lambda x: x.sum(1, keepdim=True).squeeze(1),
        "of a number": lambda x: x.sum().squeeze(0),
    }
    exported = ExportedUses(uses, torch.randn(3, 4, 2), axes=STEPS)
    for sizes in [(1, 1, 2), (1, 7, 2), (5, 1, 2)]:
        exported.check(torch.randn(*sizes), rtol=1e-6, atol=1e-6)


def test_squeeze_is_refused_when_only_some_lengths_have_the_axis():
    with pytest.raises(UnsupportedModule, match="special case"):
        ExportedUses({"squeeze": lambda x: x.squeeze(1)}, torch.randn(3, 4, 2), axes=STEPS)


def test_part_without_steps_has_the_results_of_eager():
    uses = {
        "any": lambda x: (x[:, 1:] > 0).any(1),
        "sum": lambda x: x[:, 1:].sum(1),
        "prod": lambda x: x[:, 1:].prod(1),
    }
    exported = ExportedUses(uses, torch.randn(2, 4, 3), axes=STEPS)
    for steps in (1, 2, 7):
        exported.check(torch.randn(2, steps, 3), rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")  # of the variance of no values
@pytest.mark.parametrize(
    "compute",
    [lambda x: x[:, 1:].mean(1), lambda x: x[:, 1:].var(1), lambda x: x[:, :-1].cumprod(1)],
    ids=["mean", "var", "cumprod"],
)
def test_mean_of_no_values_is_refused_with_advice_to_set_sizes(compute):
    with pytest.raises(UnsupportedModule, match=r'sizes=\{"sequence": \(2, …\)\}'):
        ExportedUses({"of a part": compute}, torch.randn(2, 4, 3), axes=STEPS)


def test_largest_of_no_values_fails_the_request():
    exported = ExportedUses({"amax": lambda x: x[:, 1:].amax(1)}, torch.randn(2, 4, 3), axes=STEPS)
    with pytest.raises(RuntimeError, match="cannot run") as raised:
        exported.run({"x": np.ones((2, 1, 3), np.float32)})
    with pytest.raises(InvalidRequest, match="the largest of no values"):
        reraise(raised.value)


@pytest.mark.parametrize(
    ("name", "compute"),
    [
        ("inv", torch.linalg.inv),
        ("solve", lambda x: torch.linalg.solve(x, x[..., 0])),
        ("cholesky", lambda x: torch.linalg.cholesky_ex(x)[0]),
    ],
)
def test_factored_matrices_are_refused_with_line_and_remedy(name, compute):
    words = rf"^{name} \(at \w+\.py:\d+\) does not exist in ONNX\. .* keep it as a buffer. .* Otherwise"
    with pytest.raises(UnsupportedModule, match=words):
        ExportedUses({name: compute}, torch.eye(2).repeat(2, 1, 1))


def test_determinants_are_exported():
    ExportedUses({"det": torch.det}, torch.eye(2).repeat(2, 1, 1)).check(torch.rand(6, 2, 2), rtol=1e-5, atol=1e-6)


def _median(x):
    return x.sort(dim=1, stable=True).values[:, (x.size(1) - 1) // 2]


def _rows(ids):
    return F.embedding(ids, _I[:, None].float()) * (ids != 0).unsqueeze(-1)


def _counts(ids):
    return (ids != 0).sum(1, keepdim=True).clamp(min=1)  # a mean of no rows is 0


_I = torch.arange(4)
REFUSED = {
    "median": (lambda x: x.median(1).values, _median),
    "nanmedian": (lambda x: x.nanmedian(1).values, None),
    "kthvalue": (lambda x: x.kthvalue(2, 1).values, lambda x: x.sort(dim=1, stable=True).values[:, 1]),
    "diagonal": (
        lambda x: (x[:, None] * x[:, :, None]).diagonal(0, 1, 2),
        lambda x: (x[:, None] * x[:, :, None])[:, _I, _I],
    ),
    "copysign": (lambda x: x.copysign(-x), lambda x: x.abs() * torch.where(-x < 0, -1.0, 1.0)),
    "signbit": (torch.signbit, lambda x: x < 0),
    "heaviside": (
        lambda x: torch.heaviside(x, x + 2),
        lambda x: torch.where(x == 0, x + 2, (x > 0).to(x.dtype)),
    ),
    "logaddexp2": (
        lambda x: torch.logaddexp2(x, -x),
        lambda x: torch.logaddexp(x * math.log(2), -x * math.log(2)) / math.log(2),
    ),
    "upsample_nearest_exact1d": (lambda x: F.interpolate(x[:, None], size=9, mode="nearest-exact"), None),
    "adaptive_avg_pool1d": (lambda x: F.adaptive_avg_pool1d(x, 3), None),
    "cummax": (lambda x: x.cummax(1).values, None),
    "embedding_bag": (
        lambda x: F.embedding_bag(x.long().clamp(0, 3), _I[:, None].float(), padding_idx=0),
        lambda x: _rows(x.long().clamp(0, 3)).sum(1) / _counts(x.long().clamp(0, 3)),
    ),
    "rfft": (lambda x: torch.fft.rfft(x).abs(), None),
    "max_pool2d_with_indices": (lambda x: F.max_pool2d(x[:, None, None], (1, 2), return_indices=True)[1], None),
    "cdist with p=3": (lambda x: torch.cdist(x[:, :, None], x[:, :, None], 3.0), None),
    "prod": (lambda x: x.long().prod(1), lambda x: x.long().double().prod(1).long()),
    "raises integers to integer tensors": (lambda x: x.long() ** torch.arange(4), None),
    "Softplus in float64": (lambda x: F.softplus(x.double()), None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_rare_operator_is_refused_with_a_correct_replacement(name):
    refused, instead = REFUSED[name]
    with pytest.raises(UnsupportedModule, match=name):
        ExportedUses({name: refused}, torch.randn(3, 4))
    if instead is not None:
        exported = ExportedUses({name: instead}, torch.randn(3, 4))
        exported.check(torch.randn(5, 4), rtol=2e-6, atol=1e-6)
        x = torch.tensor([[2.0, 2.0, -3.0, 0.5], [0.0, -1.0, 7.0, 7.0]])
        torch.testing.assert_close(instead(x), refused(x))
