import pytest

from rnnserve.load.results import format_results, list_findings


def test_table_has_a_line_for_each_load(load_test, result):
    test = load_test([result([1, 2, 3]), result([4], rate=2500, seconds=0.5, compared=1)])
    lines = format_results(test).splitlines()
    assert lines[0].split()[:6] == ["requests/s", "answers/s", "p50", "p90", "p99", "p99.9"]
    assert lines[1].startswith("100 ")
    assert "2.00 ms" in lines[1]
    assert lines[2].startswith("2,500 ")
    assert len({len(line) for line in lines[:3]}) == 1
    (run, *_) = format_results(load_test([result([1] * 10), result([3] * 10)])).splitlines()[1:]
    assert run.startswith("100 ")  # repeated runs are one line
    assert "3.00 ms" in run


def test_sessions_have_jitter_in_the_table(load_test, result):
    """Its deviation, and p99 less p50: 1, 2 and 6 ms have a mean of 3 ms and a deviation of 2.16 ms."""
    test = load_test([result([1, 2, 6], sessions=1, lags=[0.5]), result([1], sessions=1000)])
    lines = format_results(test).splitlines()
    assert lines[0].split()[:9] == [
        "sessions", "answers/s", "p50", "p90", "p99", "p99.9", "max", "deviation", "p99-p50",
    ]  # fmt: skip
    assert lines[1].split()[0] == "1"
    assert "  2.16 ms  4.00 ms  " in lines[1]
    assert "500 µs" in lines[1]
    assert lines[2].startswith("1,000 ")
    assert len({len(line) for line in lines[:3]}) == 1


@pytest.mark.parametrize(
    ("settings", "finding"),
    [
        (
            {"errors": {"UNAVAILABLE": 3}, "details": {"UNAVAILABLE": "gone"}},
            "3 requests failed with UNAVAILABLE: gone",
        ),
        ({"compared": 10, "different": 4}, "4 of 10 checked rows (40%) differ from the reference outputs"),
        ({"compared": 10}, "answers: all 10 checked rows equal the reference outputs"),
        ({}, "not checked"),
        ({"seconds": 0.25}, "stopped after 0.2 s because of --max-requests"),
        ({"cpu": 0.99}, "the load generator may be the bottleneck"),
        ({"early_end": "p99 was above 5.00 ms"}, "ended early after 1.0 s because p99 was above 5.00 ms"),
        ({"closed": 4}, "closed loop"),
        ({"sessions": 4}, "sessions: a step is due one think time after the last response"),
        ({"sessions": 4, "errors": {"UNAVAILABLE": 3}}, "4 sessions: 3 requests failed with UNAVAILABLE"),
    ],
)
def test_findings_explain_errors_and_limits(load_test, result, settings, finding):
    assert finding in "\n".join(list_findings(load_test([result(**settings)])))


def test_verdict_names_the_rate_on_each_side(load_test, sweep):
    for slo, verdict in (
        ("p99=500ms", ["met: p99=500ms, at 6,400 requests/s: "]),
        ("p99=20ms", ["met: p99=20ms, at 200 requests/s: ", "inconclusive at 400 requests/s: "]),
        ("p50=4ms", ["met: p50=4ms, at 400 requests/s: ", "missed at 800 requests/s: "]),
        ("p99=1us", ["missed: p99=1us, already at 100 requests/s: "]),
        ("p99=4.6ms", ["inconclusive: p99=4.6ms, at 100 requests/s: "]),
    ):
        findings = list_findings(load_test(sweep, slo))[-len(verdict) :]
        assert [found[: len(begin)] for found, begin in zip(findings, verdict, strict=True)] == verdict
