"""The tables, and the performance goals."""

from typing import Any

import pytest

from benchmarks.report import evaluate_goals, render_report
from benchmarks.scenarios import GOALS, SCENARIOS
from benchmarks.server_names import CONSTANT, FAST_PATH, TRITON, TRITON_RAGGED

ABOUT = {"hardware": {"processor": "a processor", "cores": "2"}, "versions": {"grpcio": "1.85.3"}}


def rounds(**figures):
    return [{name.replace("_per_s", "/s"): value} for name, values in figures.items() for value in values]


FOUND = {
    "throughput": {
        FAST_PATH: rounds(requests_per_s=[40000.0, 20000.0, 44000.0]),
        TRITON: rounds(requests_per_s=[20000.0, 10000.0, 20000.0]),
        CONSTANT: rounds(requests_per_s=[50000.0, 25000.0, 55000.0]),
    }
}


def test_every_goal_is_measured_by_its_scenario():
    by_name = {scenario.name: scenario for scenario in SCENARIOS}
    for goal in GOALS:
        scenario = by_name[goal.scenario]
        assert goal.metric in scenario.metrics
        assert {goal.server, goal.against} - {None} <= set(scenario.servers)


def test_measured_goals_are_evaluated():
    results = evaluate_goals(FOUND)
    assert [(goal.against, pytest.approx(value), goal.is_met(value)) for goal, value in results] == [  # type: ignore[comparison-overlap]
        (TRITON, 2.0, True),
        (CONSTANT, 0.8, False),
    ]


def test_saturated_server_has_no_metrics():
    found: Any = {"poisson": {FAST_PATH: [{"p99 ms": 2.0, "p50 ms": 1.0, "inferences/s": 4000.0}], TRITON_RAGGED: [{}]}}
    text = render_report(found, ABOUT)
    (line,) = [line for line in text.splitlines() if line.startswith("Triton ragged")]
    assert line.split()[2:] == ["-"] * 6
    assert "saturated" in text
    assert evaluate_goals(found) == []
