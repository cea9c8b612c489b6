"""The table, and the figures to reach."""

from typing import Any

import pytest

from benchmarks.report import judge, render, table
from benchmarks.scenarios import CONSTANT, LANE, SCENARIOS, TARGETS, TRITON, TRITON_RAGGED, Target

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


def test_every_target_is_of_a_scenario_that_measures_its_metric_on_its_servers():
    by_name = {scenario.name: scenario for scenario in SCENARIOS}
    for target in TARGETS:
        if target.scenario in by_name:
            scenario = by_name[target.scenario]
            assert target.metric in scenario.metrics
            assert {target.server, target.against} <= set(scenario.servers)
        else:
            assert target.scenario in ("start", "soak")
            assert target.against is None


@pytest.mark.parametrize(
    ("target", "figure", "is_met"),
    [
        (Target("s", "m", at_least=1.8), 1.8, True),
        (Target("s", "m", at_least=1.8), 1.79, False),
        (Target("s", "m", at_most=0.6), 0.6, True),
        (Target("s", "m", at_most=0.6), 0.61, False),
    ],
)
def test_a_target_is_met_at_its_figure_and_beyond(target, figure, is_met):
    assert target.is_met(figure) is is_met


def test_what_was_measured_is_judged_and_nothing_else():
    verdicts = judge(FOUND)
    assert [(v.target.against, pytest.approx(v.figure), v.is_met) for v in verdicts] == [  # type: ignore[comparison-overlap]
        (TRITON, 2.0, True),
        (CONSTANT, 0.8, False),
    ]


def test_the_report_says_what_was_compared_and_on_what():
    text = render(FOUND, ABOUT)
    assert "rnnserve lane" in text
    assert "40,000" in text
    assert "2.00 x" in text
    assert "C++ ONNX Runtime backend is in no package registry and was not measured" in text
    assert "a processor" in text
    assert "grpcio 1.85.3" in text
    assert "saturated" not in text


def test_nothing_is_said_of_triton_where_it_did_not_take_part():
    assert "Triton" not in render({"throughput": {LANE: FOUND["throughput"][LANE]}}, ABOUT)


def test_a_saturated_server_has_no_figure_and_the_report_says_so():
    found: Any = {"poisson": {LANE: [{"p99 ms": 2.0, "p50 ms": 1.0, "inferences/s": 4000.0}], TRITON_RAGGED: [{}]}}
    text = render(found, ABOUT)
    (line,) = [line for line in text.splitlines() if line.startswith("Triton ragged")]
    assert line.split()[2:] == ["-"] * 6
    assert "saturated" in text
    assert judge(found) == []


def test_columns_are_aligned():
    assert table([["server", "p50 ms"], ["a", "10.0"]]) == ["server  p50 ms", "a         10.0"]
