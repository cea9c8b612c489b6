"""Servers that fail, leave and come back, reports that are old, and what is full first."""

import dataclasses

import pytest

from benchmarks.simulation.balancing import BALANCINGS
from benchmarks.simulation.cost_model import CostModel
from benchmarks.simulation.fleet import Fleet, Outage, Requests, rollout, simulate

S = 1e-3
COSTS = CostModel(run=S / 2, step=0.0, point=0.0, padding=0.0, request=S / 2)
ONE = Requests()


def simulated(load, seconds=8.0, seed=1, **fleet):
    """A load of four servers, as a part of what they can do."""
    return simulate(Fleet(**{"servers": 4, "clients": 12, **fleet}), COSTS, ONE, load * 4 / S, seconds, seed)


def p99(found, since, until):
    during = (found.due >= since) & (found.due < until)
    return dataclasses.replace(found, due=found.due[during], latency=found.latency[during]).percentile(99)


@pytest.mark.parametrize("balancing", BALANCINGS)
def test_requests_of_a_killed_server_are_answered_by_others(balancing):
    found = simulated(0.6, balancing=balancing, outages=[Outage(1, 3.0, 5.0)], seed=3)
    assert found.failed == 0
    assert found.sent_again <= 300  # what it had in hand, and no more
    assert simulated(0.6, outages=[Outage(1, 3.0, 5.0)], seed=3).sent_again >= 1


def test_a_server_that_drains_loses_nothing_and_others_carry_its_part():
    found = simulated(0.6, outages=rollout(4, 2.0, 1.0))
    assert found.failed == found.sent_again == 0
    assert p99(found, 2.2, 6.0) > 1.1 * p99(found, 0.2, 2.0)
    assert p99(found, 6.5, 8.0) < 1.1 * p99(found, 0.2, 2.0)
    assert found.taken.max() < 1.1 * found.taken.min()  # each was away for as long
