import numpy as np
import pytest

from rnnserve.load.findings import list_findings
from rnnserve.load.latency_counts import LatencyCounts

LOOK = LatencyCounts(np.array([1000] * 32), np.zeros((1, 32), np.int64), np.zeros((1, 32), np.int64))


@pytest.mark.parametrize(
    ("settings", "finding"),
    [
        ({"errors": {"UNAVAILABLE": 3}, "details": {"UNAVAILABLE": "gone"}}, "3 x UNAVAILABLE, the first: gone"),
        ({"checked": 10, "wrong": 4}, "4 of 10 labels are wrong (40.0%)"),
        ({"checked": 10}, "all 10 are as expected"),
        ({"compared": 10, "different": 4}, "4 of 10 rows have other answers than the golden ones (40.0%)"),
        ({"compared": 10}, "answers: those to all 10 rows agree with the golden ones"),
        ({}, "not checked"),
        ({"seconds": 0.25}, "cut short after 0.2 s"),
        ({"cpu": 0.99}, "the generator, not the server"),
        ({"closed": 4}, "closed loop"),
        ({"sessions": 4}, "sessions: a step is due a think time after the last answer"),
        ({"sessions": 4, "errors": {"UNAVAILABLE": 3}}, "4 sessions: 3 x UNAVAILABLE"),
    ],
)
def test_findings_say_what_figures_do_not_show(load_test, result, settings, finding):
    assert finding in "\n".join(list_findings(load_test([result(**settings)])))


def test_verdict_names_the_rate_on_each_side(load_test, sweep):
    for slo, verdict in (
        ("p99=500ms", ["held: p99=500ms, 99% confidence, at 6,400 requests/s ("]),
        ("p99=20ms", ["held: p99=20ms, 99% confidence, at 200 requests/s (", "undecided: at 400 requests/s ("]),
        ("p50=4ms", ["held: p50=4ms, 99% confidence, at 400 requests/s (", "not held: at 800 requests/s ("]),
        ("p99=1us", ["not held: p99=1us, 99% confidence, not even at 100 requests/s ("]),
        ("p99=4.6ms", ["undecided: p99=4.6ms, 99% confidence, at 100 requests/s ("]),
    ):
        findings = list_findings(load_test(sweep, slo))[-len(verdict) :]
        assert [found[: len(begin)] for found, begin in zip(findings, verdict, strict=True)] == verdict


def test_pacing_is_that_of_the_worst_load_with_a_plan(load_test, result):
    test = load_test([result([9] * 1000, lags=[0.1]), result([9] * 1000, lags=[2, 3], rate=200)], "p99=10ms")
    assert "pacing: requests were sent up to 3.00 ms (p99) later than planned, 3.00 ms at most" in "\n".join(
        list_findings(test)
    )
    assert not any("pacing" in said for said in list_findings(load_test([result([1.0] * 1000, closed=4)], "p99=5ms")))


def test_early_end_is_no_cut(load_test, result):
    found = list_findings(
        load_test([result([1.0] * 700, seconds=0.5, look=LOOK, settings={"has_looks": True})], "p99=5ms")
    )
    assert "100 requests/s: ended after 0.5 s, since the objective was decided by then" in found
    assert not any("cut short" in finding for finding in found)


@pytest.mark.parametrize(
    ("scenario", "latencies", "finding"),
    [
        # Of 1,000 requests, LoadGen takes the 78th slowest as its estimate of the p90: 78 or fewer over the p90 have a
        # probability of 0.99%, 79 or fewer one of 1.33%. Of the p99 it is the second.
        ("single-stream", range(1, 1001), "single-stream: the p90 is 923 ms at most (99% confidence)"),
        ("multi-stream", range(1, 662), "multi-stream: 661 requests are too few for an estimate of the p99; take more"),
        ("multi-stream", range(1, 663), "multi-stream: the p99 is 662 ms at most (99% confidence)"),
        ("offline", [1.0], "offline: 90 rows/s"),
    ],
)
def test_scenario_has_its_figure(load_test, result, scenario, latencies, finding):
    found = list_findings(load_test([result(latencies, closed=1, rows=90, settings={"scenario": scenario})]))
    assert [said for said in found if said.startswith(scenario)] == [finding]
