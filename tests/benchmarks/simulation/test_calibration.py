"""What calibration and its checks conclude from loads, and what they say where they cannot measure."""

import dataclasses
import os
import subprocess

import numpy as np
import pytest

from benchmarks.simulation import calibration, checks, servers_on_a_core, shared_core
from benchmarks.simulation.__main__ import main
from benchmarks.simulation.cost_model import CostModel
from benchmarks.simulation.fleet import Fleet, simulate
from benchmarks.simulation.servers_on_a_core import Run, Seconds, ServersOnACore
from benchmarks.simulation.shared_core import core_seconds, pace_of, percentiles, rate_of, requests_of

COSTS = CostModel(100e-6, 2e-6, 0.6e-6, 0.2e-6, 150e-6, rows=16, facts={"model": "one"})


@pytest.fixture(autouse=True)
def few(monkeypatch):
    for module in (calibration, shared_core):
        monkeypatch.setattr(module, "SIMULATED", 8_000)


def test_what_requests_spend_elsewhere_is_what_the_core_does_not_explain():
    away = tuple(np.linspace(0.2e-3, 1.2e-3, 50))
    size = (16, 1, 64)
    real = simulate(Fleet(1), dataclasses.replace(COSTS, away=away), requests_of(size), 50.0, 100.0, seed=8)
    nanoseconds = np.sort(real.latency * 1e9).astype(int)
    point = {"rate": 50.0, "latency": {"buckets": [(int(value), 1) for value in nanoseconds]}}
    found = calibration._away(COSTS, point)
    assert list(found) == sorted(found)
    assert np.median(found) == pytest.approx(np.median(away), rel=0.1)
    again = simulate(Fleet(1), dataclasses.replace(COSTS, away=found), requests_of(size), 50.0, 100.0, 9)
    for percent in (50, 90):
        assert again.percentile(percent) == pytest.approx(real.percentile(percent), rel=0.1)


@pytest.mark.parametrize("slice_s", [0.5e-3, 20e-3])
def test_the_slice_is_the_one_that_gives_what_two_servers_had(slice_s):
    size = (16, 1, 64)
    rate = rate_of(COSTS, size, 0.8)
    p99 = percentiles(dataclasses.replace(COSTS, slice=slice_s), 2, size, rate)[1]
    found = calibration._slice(COSTS, rate, p99)
    assert percentiles(dataclasses.replace(COSTS, slice=found), 2, size, rate)[1] == pytest.approx(p99)


@pytest.mark.parametrize("load", [0.3, 0.8])
@pytest.mark.parametrize("pace", [0.8, 1.5])
def test_the_pace_of_a_core_is_found_from_what_a_request_takes_of_it(load, pace):
    size, slower = (16, 1, 64), COSTS.at_pace(pace)
    rate = rate_of(slower, size, load)
    of_core = core_seconds(slower, 1, size, rate)
    assert pace_of(COSTS, 1, size, rate, of_core) == pytest.approx(pace, rel=0.02)
    assert slower.mean_seconds(*size) == pytest.approx(pace * COSTS.mean_seconds(*size))


def test_the_error_is_how_far_the_simulated_p99_is_off():
    one = checks.Check(
        3,
        (16, 1, 64),
        0.5,
        100.0,
        measured=(2e-3, 10e-3),
        spread=(9e-3, 12e-3),
        simulated=(2e-3, 8.5e-3),
        requests=2000,
        paces=(1.0, 1.05),
        tried=1,
    )
    assert one.error == pytest.approx(-0.15)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen")
def test_what_starts_on_a_core_leaves_this_process_where_it_was():
    before = os.sched_getaffinity(0)
    core = min(before)
    with servers_on_a_core._on_core(core):
        assert os.sched_getaffinity(0) == {core}
    assert os.sched_getaffinity(0) == before
    with pytest.raises(FileNotFoundError), servers_on_a_core._on_core(core):
        subprocess.Popen(["/no/such/program"])
    assert os.sched_getaffinity(0) == before


def test_one_core_is_too_few(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    assert main(["--calibrate", str(tmp_path), "--costs", str(tmp_path / "costs.json")]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "simulation: needs two cores: one for the servers, one for the load"
    )


def test_of_several_runs_the_one_with_the_least_p99_comes_first(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    bench = ServersOnACore(tmp_path, "one", tmp_path)
    milliseconds = iter([12, 9, 30])
    monkeypatch.setattr(
        bench, "load", lambda *_: {"latency": {"percentiles": {"50": 2e6, "99": next(milliseconds) * 1e6}}}
    )
    answered, used = iter([0, 100, 100, 300, 300, 400]), iter([0.0, 0.1, 0.1, 0.5, 0.5, 0.6])
    monkeypatch.setattr(bench, "_answered", lambda _: next(answered))
    monkeypatch.setattr(servers_on_a_core, "cpu_seconds", lambda _: next(used))
    server = type("Server", (), {"pids": []})()
    found = bench.loads_at([server], (16, 1, 64), Seconds(runs=3), 100.0)
    assert [run.p99 for run in found] == [9e-3, 12e-3, 30e-3]
    assert found[0].of_core == pytest.approx(0.4 / 200)
    assert found[0].p50 == 2e-3


class ServersAtPaces(ServersOnACore):
    """Servers on a core whose pace changes between one load and the next."""

    def __init__(self, paces):  # nothing is started
        self.paces, self.rates = list(paces), []

    def loads_at(self, servers, size, seconds, rate):
        slower = COSTS.at_pace(self.paces.pop(0))
        self.rates.append(rate)
        p50, p99 = percentiles(slower, len(servers), size, rate)
        latency = {"count": 900, "percentiles": {"50": p50 * 1e9, "99": p99 * 1e9}}
        return [Run({"latency": latency}, core_seconds(slower, len(servers), size, rate))] * seconds.runs


@pytest.mark.parametrize(
    ("paces", "tried"),
    [([1.3, 1.3], 1), ([1.0, 1.3, 1.3, 1.3], 2), ([1.0, 1.3] * 4, 4)],
    ids=["steady", "steady later", "never"],
)
def test_a_load_is_measured_again_where_the_core_had_another_pace_than_before(paces, tried):
    servers = ServersAtPaces(paces)
    found = checks._checked(servers, [None], COSTS, 0.5, (16, 1, 64), Seconds(runs=2))
    assert (found.tried, servers.paces) == (tried, [])
    assert found.paces == pytest.approx(paces[-2:], rel=0.02)
    assert found.rate == pytest.approx(rate_of(COSTS, (16, 1, 64), 0.5) / paces[-2], rel=0.02)
    assert abs(found.error) < 0.1
