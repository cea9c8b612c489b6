"""What calibration concludes from loads, and what it says where it cannot measure."""

import dataclasses
import os
import subprocess

import numpy as np
import pytest

from benchmarks.simulation import calibration
from benchmarks.simulation.__main__ import main
from benchmarks.simulation.calibration import Check
from benchmarks.simulation.cost_model import CostModel
from benchmarks.simulation.fleet import Fleet, simulate

COSTS = CostModel(100e-6, 2e-6, 0.6e-6, 0.2e-6, 150e-6, rows=16, facts={"model": "one"})


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(calibration, "_SIMULATED", 8_000)


def test_what_requests_spend_elsewhere_is_what_the_core_does_not_explain():
    away = tuple(np.linspace(0.2e-3, 1.2e-3, 50))
    size = (16, 1, 64)
    real = simulate(Fleet(1), dataclasses.replace(COSTS, away=away), calibration.requests_of(size), 50.0, 100.0, seed=8)
    nanoseconds = np.sort(real.latency * 1e9).astype(int)
    point = {"rate": 50.0, "latency": {"buckets": [(int(value), 1) for value in nanoseconds]}}
    found = calibration._away(COSTS, point)
    assert list(found) == sorted(found)
    assert np.median(found) == pytest.approx(np.median(away), rel=0.1)
    again = simulate(Fleet(1), dataclasses.replace(COSTS, away=found), calibration.requests_of(size), 50.0, 100.0, 9)
    for percent in (50, 90):
        assert again.percentile(percent) == pytest.approx(real.percentile(percent), rel=0.1)


@pytest.mark.parametrize("slice_s", [0.5e-3, 20e-3])
def test_the_slice_is_the_one_that_gives_what_two_servers_had(slice_s):
    size = (16, 1, 64)
    rate = calibration.rate_of(COSTS, size, 0.8)
    p99 = calibration._simulated(dataclasses.replace(COSTS, slice=slice_s), 2, size, rate)[1]
    found = calibration._slice(COSTS, rate, p99)
    assert calibration._simulated(dataclasses.replace(COSTS, slice=found), 2, size, rate)[1] == pytest.approx(p99)


@pytest.mark.parametrize("load", [0.3, 0.8])
@pytest.mark.parametrize("pace", [0.8, 1.5])
def test_the_pace_of_a_core_is_found_from_what_a_request_takes_of_it(load, pace):
    size, slower = (16, 1, 64), COSTS.at_pace(pace)
    rate = calibration.rate_of(slower, size, load)
    of_core = calibration._core_seconds(slower, 1, size, rate)
    assert calibration._pace(COSTS, 1, size, rate, of_core) == pytest.approx(pace, rel=0.02)
    assert slower.mean_seconds(*size) == pytest.approx(pace * COSTS.mean_seconds(*size))


def test_the_error_is_how_far_the_simulated_p99_is_off():
    one = Check(
        3,
        (16, 1, 64),
        0.5,
        100.0,
        measured=(2e-3, 10e-3),
        spread=(9e-3, 12e-3),
        simulated=(2e-3, 8.5e-3),
        requests=2000,
        pace=1.0,
    )
    assert one.error == pytest.approx(-0.15)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen")
def test_what_starts_on_a_core_leaves_this_process_where_it_was():
    before = os.sched_getaffinity(0)
    core = min(before)
    with calibration._on_core(core):
        assert os.sched_getaffinity(0) == {core}
    assert os.sched_getaffinity(0) == before
    with pytest.raises(FileNotFoundError), calibration._on_core(core):
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
    bench = calibration._Bench(tmp_path, "one", tmp_path)
    milliseconds = iter([12, 9, 30])
    monkeypatch.setattr(
        bench, "load", lambda *_: {"latency": {"percentiles": {"50": 2e6, "99": next(milliseconds) * 1e6}}}
    )
    answered, used = iter([0, 100, 100, 300, 300, 400]), iter([0.0, 0.1, 0.1, 0.5, 0.5, 0.6])
    monkeypatch.setattr(bench, "_answered", lambda _: next(answered))
    monkeypatch.setattr(calibration, "cpu_seconds", lambda _: next(used))
    server = type("Server", (), {"pids": []})()
    found = bench.loads_at([server], (16, 1, 64), calibration.Seconds(runs=3), 100.0)
    assert [run.p99 for run in found] == [9e-3, 12e-3, 30e-3]
    assert found[0].of_core == pytest.approx(0.4 / 200)
    assert found[0].p50 == 2e-3
