"""Servers that fail, leave and come back, reports that are old, and what is full first."""

import dataclasses

import numpy as np
import pytest

from benchmarks.simulation.balancing import BALANCINGS, Reports, make_balancing
from benchmarks.simulation.bottleneck import first_bottleneck
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
def test_every_request_is_answered_once_and_the_same_seed_gives_the_same(balancing):
    found, again = (simulated(0.4, 2.0, balancing=balancing) for _ in range(2))
    assert found.failed == found.sent_again == 0
    assert found.taken.sum() == len(found.latency) == pytest.approx(0.4 * 4 / S * 2, rel=0.1)
    assert found.latency.min() >= S * (1 - 1e-9)
    np.testing.assert_array_equal(found.latency, again.latency)


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


def test_a_rollout_has_as_many_away_at_once_as_it_is_told():
    outages = rollout(5, 1.0, 2.0, at_once=2)
    assert [(each.at, each.until) for each in outages] == [(1, 3), (1, 3), (3, 5), (3, 5), (5, 7)]
    assert not any(each.is_killed for each in outages)


def test_what_is_sent_to_a_machine_that_is_silent_waits_until_that_is_noticed():
    found = simulated(0.3, outages=[Outage(0, 3.0, 6.0, unnoticed=1.0)])
    assert found.failed == 0
    assert found.sent_again == pytest.approx(0.3 / S, rel=0.2)  # a quarter of a second's requests
    assert p99(found, 3.0, 4.0) > 0.9
    assert p99(found, 4.1, 6.0) < 0.02


def test_where_all_servers_are_away_requests_fail_after_their_attempts():
    found = simulated(0.2, 2.0, outages=[Outage(number, 0.5, 1.5) for number in range(4)])
    assert 0 < found.failed < len(found.latency) / 2
    assert np.isnan(found.latency[(found.due > 0.6) & (found.due < 1.2)]).all()
    assert not np.isnan(found.latency[found.due > 1.6]).any()


def test_reports_give_servers_that_are_slower_less():
    speeds = [1.0, 1.0, 0.5, 0.5]
    even, weighted = (simulated(0.6, balancing=way, speeds=speeds) for way in ("round_robin", "weighted_round_robin"))
    assert even.taken[0] == pytest.approx(even.taken[2], rel=0.02)
    assert weighted.taken[0] > 1.5 * weighted.taken[2]
    assert weighted.percentile(99, 2.0) < even.percentile(99, 2.0)


def test_all_clients_run_to_the_server_that_reported_little_and_the_more_so_the_older_that_is():
    fresh, old = (simulated(0.5, balancing="least_reported", report_s=period) for period in (0.01, 1.0))
    assert simulated(0.5).percentile(99, 2.0) < fresh.percentile(99, 2.0) < old.percentile(99, 2.0) / 5


def test_weights_decide_how_often_a_server_has_its_turn():
    reports = Reports(3)
    balancing = make_balancing("weighted_round_robin", 3, 2, np.random.default_rng(0), reports)
    reports.weights, reports.number = [100.0, 200.0, 0.0], 1  # the third has the mean of the others
    for client in range(2):
        picked = [balancing.pick(client) for _ in range(900)]
        assert [picked.count(server) for server in range(3)] == pytest.approx([200, 400, 300], abs=3)


def test_connections_stay_until_their_server_is_lost():
    balancing = make_balancing("pick_first", 5, 40, np.random.default_rng(0), Reports(5))
    before = [balancing.pick(client) for client in range(40)]
    balancing.change([0, 1, 2, 4])
    after = [balancing.pick(client) for client in range(40)]
    balancing.change(range(5))
    assert 3 not in after
    assert all(new == old for new, old in zip(after, before, strict=True) if old != 3)
    assert [balancing.pick(client) for client in range(40)] == after


def test_what_is_full_first_is_named():
    rate = 0.5 * 4 / S
    even = simulated(0.5, clients=1)
    first = first_bottleneck(even, rate)
    assert first.name == "servers"
    assert first.full_at == pytest.approx(rate / even.used.mean())
    uneven = first_bottleneck(simulated(0.5, balancing="pick_first", clients=5), rate)  # one of four has two or more
    assert uneven.name == "busiest server"
    assert uneven.full_at < 0.8 * first.full_at
    proxied = first_bottleneck(even, rate, proxies=2, proxy_rate=0.6 * rate)
    assert proxied.name == "proxies"
    assert proxied.used == pytest.approx(1 / 1.2)
    assert first_bottleneck(even, rate, proxies=2, proxy_rate=10 * rate).name == "servers"


def test_in_a_short_time_servers_are_uneven_by_chance():
    found = simulate(Fleet(500, "random"), COSTS, ONE, 0.5 * 500 / S, 0.02, seed=1)
    assert found.taken.max() > 1.5 * found.taken.mean()
    assert first_bottleneck(found, 0.5 * 500 / S).name == "servers"


@pytest.mark.parametrize("a_core", [1, 2])
def test_a_request_takes_more_of_a_core_that_servers_share(a_core):
    fleet = Fleet(2, clients=4, servers_a_core=a_core)
    used = [
        float(found.used.sum()) * found.seconds / len(found.due)
        for shared in (1.0, 1.5)
        for found in [simulate(fleet, dataclasses.replace(COSTS, shared=shared), ONE, 0.3 / S, 6.0, seed=4)]
    ]
    assert used[1] / used[0] == pytest.approx(1.5 if a_core == 2 else 1.0, rel=0.15 if a_core == 2 else 1e-9)
