"""Constants survive the export by value: small ones, and those one step beside 0 and 1."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kit.operator_uses import ExportedUses
from rnnserve.export.parity import OnnxRunner

_STEP = 2.0**-23
_TOGETHER = 8  # uses in one graph
_MAGNITUDES = [0.5, 1e-5, 1e-8, 1e-12, 1e-38, 1e-40, 1.0 + _STEP, 1.0 - _STEP / 2]

# Each computes of x (batch, features), where a row of zeros, of small numbers or of ones shows the constant.
_USES = {
    "add": lambda x, c: x + c,
    "multiply": lambda x, c: x * c,
    "power": lambda x, c: x.abs() ** c,
    "clamp": lambda x, c: x.clamp(-c, c),
    "maximum": lambda x, c: torch.maximum(x, torch.tensor(c)),
    "log": lambda x, c: torch.log(x.abs() + c),
    "rsqrt": lambda x, c: torch.rsqrt(x.abs() + c),
    "divide by std": lambda x, c: x / (x.std(1, keepdim=True) + c),
    "layer_norm": lambda x, c: F.layer_norm(x, (4,), eps=c),
    "rms_norm": lambda x, c: F.rms_norm(x, (4,), eps=c),
    "batch_norm": lambda x, c: F.batch_norm(x, x.new_zeros(4), x.new_zeros(4), eps=c),
    "normalize": lambda x, c: F.normalize(x, dim=1, eps=c),
    "cosine_similarity": lambda x, c: F.cosine_similarity(x, x, dim=1, eps=c),
    "log of softplus": lambda x, c: torch.log(F.softplus(x) + c),
    "threshold": lambda x, c: F.threshold(x, c, c),
}
_X = torch.tensor(
    [[0.0] * 4, [1e-12, -1e-12, 1e-10, 0.0], [1e-5, 2e-5, -1e-5, 3e-5], [1.0, 1.0, 1.0, 1.0], [-100.0, 0.5, 20.0, 1e-3]]
)


@pytest.mark.parametrize("start", range(0, len(_USES), _TOGETHER))
def test_constants_of_every_magnitude_are_kept(start):
    uses = dict(list(_USES.items())[start : start + _TOGETHER])
    pairs = {(name, constant): use for name, use in uses.items() for constant in _MAGNITUDES}
    exported = ExportedUses({f"{name} {c!r}": _of(use, c) for (name, c), use in pairs.items()}, _X[:3])
    for optimized in (False, True):  # by onnxruntime: both as written, and as it serves
        found = OnnxRunner(exported.model.SerializeToString(), optimized=optimized)({"x": _X.numpy()}).values()
        for ((name, constant), use), got in zip(pairs.items(), found, strict=True):
            expected = use(_X, constant).numpy()
            true = expected if name == "maximum" else use(_X.double(), constant).numpy()
            with np.errstate(all="ignore"):
                noise = 4 * np.abs(expected - true) + 2e-6 * np.maximum(np.abs(true), 1e-12)
                close = np.abs(got - true) <= noise + 1.2e-38
                close |= got == true.astype(np.float32)
            right = close | (got == expected) | (np.isnan(got) & np.isnan(expected))
            assert right.all(), f"{name} {constant!r}: {expected[~right]} became {got[~right]}"


def _of(use, constant):
    return lambda x: use(x, constant)


def test_zeros_of_different_sign_are_different_constants():
    uses = {
        "x + 0": lambda x: x + 0.0,
        "x + -0": lambda x: x + torch.tensor(-0.0),
        "x * (0, -0)": lambda x: x * torch.tensor([0.0, -0.0]),
    }
    x = torch.tensor([[-0.0, -0.0], [0.0, 1.0]])
    model = ExportedUses(uses, torch.ones(3, 2)).model
    found = OnnxRunner(model.SerializeToString(), optimized=False)({"x": x.numpy()}).values()
    for (name, use), got in zip(uses.items(), found, strict=True):
        np.testing.assert_array_equal(np.signbit(got), np.signbit(use(x).numpy()), err_msg=name)
