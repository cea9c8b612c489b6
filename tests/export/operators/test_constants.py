"""Constants survive the export: small ones, and those one step beside 0 and 1, by structure and by value."""

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rnnserve.export import export_onnx
from rnnserve.export.parity import OnnxRunner

_STEP = 2.0**-23
_MAGNITUDES = [*(10.0**-power for power in range(1, 13)), 1e-20, 1e-38, 1e-40, 1.0 + _STEP, 1.0 - _STEP / 2, 0.5]

# Each computes of x (batch, features), where a row of zeros, of small numbers or of ones shows the constant.
_USES = {
    "add": lambda x, c: x + c,
    "subtract": lambda x, c: x - c,
    "multiply": lambda x, c: x * c,
    "divide": lambda x, c: x / c,
    "power": lambda x, c: x.abs() ** c,
    "clamp": lambda x, c: x.clamp(-c, c),
    "clamp_min": lambda x, c: x.clamp(min=c),
    "maximum": lambda x, c: torch.maximum(x, torch.tensor(c)),
    "where": lambda x, c: torch.where(x > c, x, c),
    "log": lambda x, c: torch.log(x.abs() + c),
    "reciprocal": lambda x, c: 1 / (x.abs() + c),
    "rsqrt": lambda x, c: torch.rsqrt(x.abs() + c),
    "divide by std": lambda x, c: x / (x.std(1, keepdim=True) + c),
    "layer_norm": lambda x, c: F.layer_norm(x, (4,), eps=c),
    "group_norm": lambda x, c: F.group_norm(x, 2, eps=c),
    "rms_norm": lambda x, c: F.rms_norm(x, (4,), eps=c),
    "batch_norm": lambda x, c: F.batch_norm(x, x.new_zeros(4), x.new_zeros(4), eps=c),
    "instance_norm": lambda x, c: F.instance_norm(x[:, None], eps=c),
    "normalize": lambda x, c: F.normalize(x, dim=1, eps=c),
    "cosine_similarity": lambda x, c: F.cosine_similarity(x, x, dim=1, eps=c),
    "log of softplus": lambda x, c: torch.log(F.softplus(x) + c),
    "leaky_relu": lambda x, c: F.leaky_relu(x, c),
    "softplus": lambda x, c: F.softplus(x, beta=max(c, 1e-6)),
    "hardshrink": lambda x, c: F.hardshrink(x, c),
    "threshold": lambda x, c: F.threshold(x, c, c),
    "twice": lambda x, c: (x + c) + c,
}
_X = torch.tensor(
    [[0.0] * 4, [1e-12, -1e-12, 1e-10, 0.0], [1e-5, 2e-5, -1e-5, 3e-5], [1.0, 1.0, 1.0, 1.0], [-100.0, 0.5, 20.0, 1e-3]]
)


class _Uses(nn.Module):
    def __init__(self, use):
        super().__init__()
        self.use = use

    def forward(self, x):
        return tuple(self.use(x, constant) for constant in _MAGNITUDES)


@pytest.mark.parametrize("use", _USES.values(), ids=_USES)
def test_every_magnitude_counts(use):
    module = _Uses(use).eval()
    names = [f"y{at}" for at in range(len(_MAGNITUDES))]
    program = export_onnx(module, (_X[:3],), input_names=["x"], output_names=names, dynamic_shapes=({0: "batch"},))
    model = program.model_proto.SerializeToString()
    exact = [result.numpy() for result in module(_X.double())] if use is not _USES["maximum"] else None
    for optimized in (False, True):  # by onnxruntime: both as written, and as it serves
        found = OnnxRunner(model, optimized=optimized)({"x": _X.numpy()})
        for at, (name, eager) in enumerate(zip(names, module(_X), strict=True)):
            expected, got = eager.numpy(), found[name]
            true = expected if exact is None else exact[at]
            with np.errstate(all="ignore"):
                noise = 4 * np.abs(expected - true) + 2e-6 * np.maximum(np.abs(true), 1e-12)
                close = np.abs(got - true) <= noise + 1.2e-38
                close |= got == true.astype(np.float32)
            right = close | (got == expected) | (np.isnan(got) & np.isnan(expected))
            assert right.all(), f"{_MAGNITUDES[at]:g}: {expected[~right]} became {got[~right]}"


@pytest.mark.parametrize(
    ("use", "operator"), [("add", "Add"), ("subtract", "Sub"), ("multiply", "Mul"), ("divide", "Div")]
)
def test_the_graph_holds_every_constant(use, operator):
    program = export_onnx(
        _Uses(_USES[use]).eval(),
        (_X[:3],),
        input_names=["x"],
        output_names=[f"y{at}" for at in range(len(_MAGNITUDES))],
        dynamic_shapes=({0: "batch"},),
    )
    graph = program.model_proto.graph
    held = {onnx.numpy_helper.to_array(tensor).item() for tensor in graph.initializer if not tensor.dims}
    assert held >= {np.float32(constant).item() for constant in _MAGNITUDES}
    assert sum(node.op_type == operator for node in graph.node) == len(_MAGNITUDES)


def test_signs_of_zeros_are_different_constants():
    class Zeros(nn.Module):
        def forward(self, x):
            return (
                torch.maximum(x, torch.tensor(0.0)) / 1.0,
                x + 0.0,
                x + torch.tensor(-0.0),
                x * torch.tensor([0.0, -0.0]),
            )

    program = export_onnx(
        Zeros(), (torch.ones(3, 2),), input_names=["x"], output_names=list("abcd"), dynamic_shapes=({0: "batch"},)
    )
    x = torch.tensor([[-0.0, -0.0], [0.0, 1.0]])
    found = OnnxRunner(program.model_proto.SerializeToString(), optimized=False)({"x": x.numpy()})
    for name, expected in zip("bcd", Zeros()(x)[1:], strict=True):
        np.testing.assert_array_equal(np.signbit(found[name]), np.signbit(expected.numpy()), err_msg=name)
