"""The simulation against what theory says exactly: waits of single queues, of queues in turn, of shared cores."""

import math

import numpy as np
import pytest

from benchmarks.simulation.cost_model import CostModel
from benchmarks.simulation.fleet import Fleet, Requests, simulate

S = 1e-3  # mean seconds of a request
STEPS = 1000  # a request of so many steps takes S
LINEAR = CostModel(run=0.0, step=0.0, point=S / STEPS, padding=0.0, request=0.0, slice=S / 50)
CONSTANT = Requests(1, (STEPS,))
EXPONENTIAL = Requests(
    1, [max(1, round(-STEPS * math.log1p(-(at + 0.5) / 20_000))) for at in range(20_000)]
)  # quantiles


def mean_seconds(load, requests=CONSTANT, *, count=200_000, servers=1, **fleet):
    """Mean of the latency in units of S, at a load from 0 to 1 of each server's core."""
    cores = servers / fleet.get("servers_a_core", 1)
    rate = load * cores / S
    made = Fleet(servers, joins=False, **fleet)
    return np.mean(simulate(made, LINEAR, requests, rate, count / rate, seed=5).latency) / S


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_queue_of_constant_requests(load):
    """M/D/1: Pollaczek and Khinchine."""
    assert mean_seconds(load) == pytest.approx(1 + load / (2 * (1 - load)), rel=0.03)


@pytest.mark.parametrize("load", [0.3, 0.6])
def test_one_queue_of_exponential_requests(load):
    """M/M/1: the time in the system is exponential, with the mean 1 / (1 - load)."""
    rate = load / S
    found = simulate(Fleet(1, joins=False), LINEAR, EXPONENTIAL, rate, 200_000 / rate, seed=6)
    assert np.mean(found.latency) / S == pytest.approx(1 / (1 - load), rel=0.04)
    assert found.percentile(99) / S == pytest.approx(math.log(100) / (1 - load), rel=0.06)
    assert found.used[0] == pytest.approx(load, rel=0.02)


def test_random_servers_are_queues_of_their_own():
    assert mean_seconds(0.6, EXPONENTIAL, servers=4, balancing="random") == pytest.approx(1 / 0.4, rel=0.05)


@pytest.mark.parametrize("servers", [2, 4])
def test_servers_in_turn_get_more_even_arrivals(servers):
    """Erlang arrivals at exponential servers: the root of s = (k a / (k a + 1 - s))^k gives the mean 1 / (1 - s)."""
    load = 0.7
    root = 0.5
    for _ in range(500):
        root = (servers * load / (servers * load + 1 - root)) ** servers
    found = mean_seconds(load, EXPONENTIAL, servers=servers, balancing="round_robin", clients=1)
    assert found == pytest.approx(1 / (1 - root), rel=0.05)
    assert found < 0.9 / (1 - load)  # than by chance


def test_the_less_busy_of_two_servers_drawn():
    """Mitzenmacher: with many servers, the mean is the sum of load^(2^i - 2) over i from 1."""
    load = 0.8
    expected = sum(load ** (2**at - 2) for at in range(1, 12))
    found = mean_seconds(load, EXPONENTIAL, servers=100, balancing="least_request", clients=1)
    assert found == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("requests", [CONSTANT, EXPONENTIAL])
def test_a_shared_core_is_shared_evenly(requests):
    """Processor sharing: the mean is 1 / (1 - load), however long the requests are."""
    found = mean_seconds(0.5, requests, count=4_000, servers=50, servers_a_core=50, balancing="random")
    assert found == pytest.approx(2.0, rel=0.12)


def test_connections_that_stay_load_servers_unevenly():
    """Of 30 connections at random to 10 servers, some servers have twice their share: more than these can do."""
    settings = {"count": 100_000, "servers": 10, "clients": 30}
    stays = mean_seconds(0.6, balancing="pick_first", **settings)
    assert stays > 10 * mean_seconds(0.6, balancing="round_robin", **settings)


def test_what_waits_shares_a_run_and_is_no_slower_for_it():
    """A run costs 9 of 10 parts of a single request: at three times the rate that requests alone could have."""
    joined = CostModel(run=0.9 * S, step=0.0, point=0.1 * S, padding=0.0, request=0.0)
    rate = 3 / S
    found = simulate(Fleet(1), joined, Requests(1, (1,)), rate, 50_000 / rate, seed=7)
    assert found.percentile(99) < 4 * S
    assert found.used[0] < 1
