"""Small matrices are factored in the graph, in steps of a loop, too. Of what has no result all is NaN."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from rnnserve.export import export_onnx
from rnnserve.export.errors import UnsupportedModule


class _Of(nn.Module):
    def __init__(self, compute):
        super().__init__()
        self.compute = compute

    def forward(self, x):
        return self.compute(x)


class _Kalman(nn.Module):
    """A filter whose gain is found anew in each step."""

    def __init__(self):
        super().__init__()
        self.transition = nn.Parameter(torch.eye(3) + 0.1 * torch.randn(3, 3))
        self.observe = nn.Parameter(torch.randn(2, 3))

    def forward(self, x):
        mean, covariance = x.new_zeros(x.size(0), 3, 1), torch.eye(3, dtype=x.dtype).expand(x.size(0), 3, 3)
        means = []
        for t in range(x.size(1)):
            mean = self.transition @ mean
            covariance = self.transition @ covariance @ self.transition.mT + 0.1 * torch.eye(3, dtype=x.dtype)
            innovation = self.observe @ covariance @ self.observe.mT + torch.eye(2, dtype=x.dtype)
            factor = torch.linalg.cholesky_ex(innovation)[0]
            gain = torch.cholesky_solve((covariance @ self.observe.mT).mT, factor).mT
            mean = mean + gain @ (x[:, t].unsqueeze(-1) - self.observe @ mean)
            covariance = (torch.eye(3, dtype=x.dtype) - gain @ self.observe) @ covariance
            means.append(mean.squeeze(-1))
        return torch.stack(means, 1)


def _session(module, x, outputs=1, axes=None):
    names: Any = {"input_names": ["x"], "output_names": [f"y_{at}" for at in range(outputs)]}
    program = export_onnx(module.eval(), (x,), dynamic_shapes=(axes or {0: "batch"},), **names)
    return onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])


def test_a_filter_that_solves_in_each_step():
    torch.manual_seed(0)
    module = _Kalman()
    names: Any = {"input_names": ["x"], "output_names": ["y"], "dynamic_shapes": ({0: "batch", 1: "sequence"},)}
    program = export_onnx(module.eval(), (torch.randn(2, 5, 2),), **names)
    model = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for rows, steps in ((1, 1), (3, 7), (2, 40)):
        x = torch.randn(rows, steps, 2)
        with torch.no_grad():
            expected, true = module(x).numpy(), module.double()(x.double()).numpy()
            module.float()
        found = session.run(None, {"x": x.numpy()})[0]
        assert np.abs(found - true).max() <= 4 * np.abs(expected - true).max() + 1e-6


@pytest.mark.parametrize("rows", [1, 5, 16])
def test_rows_are_exchanged_as_needed(rows):
    torch.manual_seed(0)
    session = _session(_Of(lambda x: (torch.linalg.inv(x), *torch.linalg.slogdet(x))), torch.randn(2, rows, rows), 3)
    x = torch.eye(rows).flip(0) + 1e-3 * torch.randn(7, rows, rows)  # without exchanges digits are lost
    inverse, sign, logarithm = session.run(None, {"x": x.numpy()})
    np.testing.assert_allclose(inverse, torch.linalg.inv(x.double()).numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(sign, torch.linalg.slogdet(x)[0].numpy())
    np.testing.assert_allclose(logarithm, torch.linalg.slogdet(x.double())[1].numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("compute", "without", "info"),
    [
        (torch.linalg.inv_ex, [[0.0, 0.0], [0.0, 1.0]], 1),
        (lambda x: torch.linalg.solve_ex(x, x[..., 0]), [[1.0, 2.0], [2.0, 4.0]], 2),
        (torch.linalg.cholesky_ex, [[1.0, 0.0], [2.0, 1.0]], 2),
        (torch.linalg.cholesky_ex, [[-1.0, 0.0], [0.0, 1.0]], 1),
    ],
)
def test_what_has_no_result_is_nan_and_its_neighbour_is_not(compute, without, info):
    session = _session(_Of(compute), torch.eye(2).repeat(2, 1, 1), 2)
    x = torch.stack([torch.tensor(without), torch.tensor([[2.0, 0.0], [0.0, 4.0]])])
    result, found = session.run(None, {"x": x.numpy()})
    assert np.isnan(result[0]).all()
    np.testing.assert_array_equal(result[1], compute(x[1])[0].numpy())
    np.testing.assert_array_equal(found, compute(x)[1].numpy())
    assert list(found) == [info, 0]
    assert found.dtype == np.int32


@pytest.mark.parametrize(
    ("compute", "axes", "words"),
    [
        (lambda x: torch.linalg.inv(x @ x.mT), {1: "sequence"}, "a number of rows that differs between requests"),
        (lambda x: torch.linalg.solve(x, torch.ones(17, 17)), {0: "batch"}, r"right.unsqueeze\(0\) for a matrix"),
    ],
)
def test_what_is_large_or_depends_on_the_request_is_refused(compute, axes, words):
    with pytest.raises(UnsupportedModule, match=words):
        _session(_Of(compute), torch.randn(2, 17, 17), axes=axes)


@pytest.mark.parametrize("points", [3, 60])
def test_distances_of_near_points_keep_their_digits(points):
    torch.manual_seed(0)
    session = _session(_Of(lambda x: torch.cdist(x, x + 1e-3)), torch.randn(2, points, 4))
    x = 100 * torch.randn(5, points, 4)
    found = session.run(None, {"x": x.numpy()})[0]
    exact = "donot_use_mm_for_euclid_dist"
    np.testing.assert_allclose(found, torch.cdist(x, x + 1e-3, compute_mode=exact).numpy(), rtol=1e-6)
