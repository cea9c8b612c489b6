"""Distances of all pairs."""

import numpy as np
import pytest
import torch

from kit.operator_uses import ExportedUses

EXACT = "donot_use_mm_for_euclid_dist"


@pytest.mark.parametrize("points", [3, 60])
def test_distances_of_near_points_keep_their_digits(points):
    torch.manual_seed(0)
    exported = ExportedUses(
        {"cdist": lambda x: torch.cdist(x, x + 1e-3, compute_mode=EXACT)}, torch.randn(2, points, 4)
    )
    x = 100 * torch.randn(5, points, 4)
    (found,) = exported.run({"x": x.numpy()}).values()
    np.testing.assert_allclose(found, torch.cdist(x, x + 1e-3, compute_mode=EXACT).numpy(), rtol=1e-6)
