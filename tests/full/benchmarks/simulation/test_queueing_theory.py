"""Compares the simulation with queueing theory."""

import numpy as np
import pytest

from benchmarks.simulation.cost_model import CostModel
from benchmarks.simulation.fleet import Fleet, Requests, simulate

S = 1e-3  # mean seconds of a request
STEPS = 1000  # a request of so many steps takes S
LINEAR = CostModel(run=0.0, step=0.0, point=S / STEPS, padding=0.0, request=0.0, slice=S / 50)


def test_mean_latency_of_one_queue_equals_that_of_pollaczek_and_khinchine():
    load = 0.6
    rate = load / S
    found = simulate(Fleet(1, joins=False), LINEAR, Requests(1, (STEPS,)), rate, 100_000 / rate, seed=5)
    assert np.mean(found.latency) / S == pytest.approx(1 + load / (2 * (1 - load)), rel=0.03)
