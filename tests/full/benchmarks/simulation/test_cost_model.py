import numpy as np
import pytest

from benchmarks.simulation.calibration import _SIZES
from benchmarks.simulation.cost_model import CostModel, MeasuredRun, fit_costs

TRUE = CostModel(80e-6, 2e-6, 0.6e-6, 0.2e-6, 120e-6, 0.01e-6, rows=16, facts={"model": "one"})


def measured(costs, noise=0.0):
    """What would be measured of these costs."""
    draw, found = np.random.default_rng(4), []
    for rows, shortest, longest in _SIZES:
        one = MeasuredRun(rows, shortest, longest, 0.0, 0.0)
        most = one.expected_longest
        run = costs.run_seconds(rows, most, one.expected_points) * draw.uniform(1 - noise, 1 + noise)
        beside = costs.beside_seconds(rows, most) * draw.uniform(1 - noise, 1 + noise)
        found.append(MeasuredRun(rows, shortest, longest, run, beside))
    return found


def test_the_fit_finds_costs_again():
    found = fit_costs(measured(TRUE), 16, {})
    for name in ("run", "step", "point", "padding", "request", "copy"):
        assert getattr(found, name) == pytest.approx(getattr(TRUE, name), rel=1e-6)
    assert found.worst_error < 1e-9
    noisy = fit_costs(measured(TRUE, noise=0.05), 16, {})
    assert 0.001 < noisy.worst_error < 0.1
