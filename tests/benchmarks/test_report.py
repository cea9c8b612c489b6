"""The tables, and the performance goals."""

from typing import Any

import pytest

from benchmarks.report import evaluate_goals, render_report
from benchmarks.scenarios import GOALS, SCENARIOS, PerformanceGoal
from benchmarks.server_names import ALONE, BESIDE_JSON, CONSTANT, HTTP, LANE, LITSERVE, TRITON, TRITON_RAGGED

ABOUT = {"hardware": {"processor": "a processor", "cores": "2"}, "versions": {"grpcio": "1.85.3"}}


def rounds(**figures):
    return [{name.replace("_per_s", "/s"): value} for name, values in figures.items() for value in values]


FOUND = {
    "throughput": {
        LANE: rounds(requests_per_s=[40000.0, 20000.0, 44000.0]),
        TRITON: rounds(requests_per_s=[20000.0, 10000.0, 20000.0]),
        CONSTANT: rounds(requests_per_s=[50000.0, 25000.0, 55000.0]),
    }
}


def test_every_goal_is_of_a_scenario_that_measures_its_metric_on_its_servers():
    by_name = {scenario.name: scenario for scenario in SCENARIOS}
    for goal in GOALS:
        if goal.scenario in by_name:
            scenario = by_name[goal.scenario]
            assert goal.metric in scenario.metrics
            assert {goal.server, goal.against} <= set(scenario.servers)
        else:
            assert goal.scenario in ("start", "soak", "http_large")
            assert goal.against is None or {goal.server, goal.against} == {ALONE, BESIDE_JSON}


@pytest.mark.parametrize(
    ("goal", "value", "is_met"),
    [
        (PerformanceGoal("s", "m", at_least=1.8), 1.8, True),
        (PerformanceGoal("s", "m", at_least=1.8), 1.79, False),
        (PerformanceGoal("s", "m", at_most=0.6), 0.6, True),
        (PerformanceGoal("s", "m", at_most=0.6), 0.61, False),
    ],
)
def test_a_goal_is_met_at_its_limit_and_beyond(goal, value, is_met):
    assert goal.is_met(value) is is_met


def test_goals_are_evaluated_for_what_was_measured():
    results = evaluate_goals(FOUND)
    assert [(r.goal.against, pytest.approx(r.value), r.is_met) for r in results] == [  # type: ignore[comparison-overlap]
        (TRITON, 2.0, True),
        (CONSTANT, 0.8, False),
    ]


def test_the_report_names_servers_machine_and_versions():
    text = render_report(FOUND, ABOUT)
    assert "rnnserve (lane)" in text
    assert "40,000" in text
    assert "2.00 x" in text
    assert "C++ ONNX Runtime backend is in no package registry and was not measured" in text
    assert "a processor" in text
    assert "grpcio 1.85.3" in text
    assert "saturated" not in text


def test_triton_is_not_mentioned_if_it_was_not_measured():
    assert "Triton" not in render_report({"throughput": {LANE: FOUND["throughput"][LANE]}}, ABOUT)


def test_the_report_says_what_a_core_of_the_front_carries():
    found: Any = {
        "http_json": {
            HTTP: [{"requests/s": 9000.0, "p50 ms": 2.0, "front CPU µs": 50.0, "CPU µs": 80.0}],
            LITSERVE: [{"requests/s": 900.0, "p50 ms": 20.0, "CPU µs": 1500.0}],
        }
    }
    text = render_report(found, ABOUT)
    assert "a core of the front carries 20,000 requests/s" in text
    (line,) = [line for line in text.splitlines() if line.startswith(LITSERVE)]
    assert "-" in line.split()
    assert [(result.goal.against, result.value) for result in evaluate_goals(found)] == [(LITSERVE, 10.0)]


def test_a_saturated_server_has_no_metrics_and_the_report_says_so():
    found: Any = {"poisson": {LANE: [{"p99 ms": 2.0, "p50 ms": 1.0, "inferences/s": 4000.0}], TRITON_RAGGED: [{}]}}
    text = render_report(found, ABOUT)
    (line,) = [line for line in text.splitlines() if line.startswith("Triton ragged")]
    assert line.split()[2:] == ["-"] * 6
    assert "saturated" in text
    assert evaluate_goals(found) == []
