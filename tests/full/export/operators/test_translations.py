"""Translations in float64, pools of every kind, and operators that are refused by name."""

import pytest
import torch
import torch.nn.functional as F

from kit.operator_uses import ExportedUses, check_uses
from kit.translated_uses import NUMBERS, RIGHT, X
from rnnserve.export.errors import UnsupportedModule

STEPS = {0: "batch", 1: "sequence"}


def test_translations_have_the_digits_of_float64():
    check_uses(RIGHT, X, rtol=1e-11, atol=1e-14)


def test_integers_and_floats_mix_as_numbers_in_float64():
    check_uses(NUMBERS, torch.tensor([[-2.0, -0.3, 0.0, 0.2], [0.7, 1.2, 3.0, 1e-9]]).double(), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("use", "operator"),
    [
        (lambda x: torch.atan2(x, x.flip(1)), "Atan"),
        (torch.asinh, "Asinh"),
        (torch.sinh, "Sinh"),
        (lambda x: torch.acos(x.tanh()), "Acos"),
        (lambda x: F.avg_pool1d(x[:, None], 2), "AveragePool"),
    ],
)
def test_operator_without_a_kernel_for_float64_is_refused_by_name(use, operator):
    with pytest.raises(UnsupportedModule, match=rf"{operator} in float64.*\.float\(\)"):
        ExportedUses({operator: use}, X)


POOLS = {
    "adaptive_avg_pool1d(1)": lambda z: F.adaptive_avg_pool1d(z, 1),
    "adaptive_max_pool1d(1)": lambda z: F.adaptive_max_pool1d(z, 1),
    "adaptive_max_pool2d((2, 1))": lambda z: F.adaptive_max_pool2d(z[:, None].repeat(1, 1, 2, 1), (2, 1)),
    "adaptive_avg_pool2d((None, 5))": lambda z: F.adaptive_avg_pool2d(z.mT[:, None].repeat(1, 1, 1, 5), (None, 5)),
    "max_pool1d(2)": lambda z: F.max_pool1d(z, 2),
    "max_pool1d(3, 2, 1)": lambda z: F.max_pool1d(z, 3, 2, 1),
    "max_pool1d(3, 1, dilation=2)": lambda z: F.max_pool1d(z, 3, 1, dilation=2),
    "max_pool1d([4])": lambda z: torch.max_pool1d(z, [4], stride=[3]),
    "max_pool1d(3, ceil_mode=True)": lambda z: F.max_pool1d(z, 3, ceil_mode=True),
}


def over_steps(pools):
    return {name: lambda x, pool=pool: pool(x.mT).flatten(1) for name, pool in pools.items()}


def test_pools_have_nan_and_infinities_where_eager_has_them():
    pools = over_steps({name: POOLS[name] for name in ("adaptive_max_pool1d(1)", "max_pool1d(2)")})
    exported = ExportedUses(pools, torch.zeros(2, 12, 2), axes=STEPS, sizes={"sequence": (8, None)})
    x = torch.randn(3, 14, 2)
    x[0, 3], x[1, 5], x[2, 4:8] = float("nan"), float("inf"), -float("inf")
    exported.check(x, rtol=1e-5, atol=1e-6)
