import numpy as np

from rnnserve.load.histogram import Histogram
from rnnserve.load.results_table import format_results


def test_table_has_a_line_for_each_load(load_test, result):
    test = load_test([result([1, 2, 3]), result([4], rate=2500, seconds=0.5, checked=1)])
    lines = format_results(test).splitlines()
    assert lines[0].split()[:6] == ["requests/s", "answers/s", "p50", "p90", "p99", "p99.9"]
    assert lines[1].startswith("100 ")
    assert "2.00 ms" in lines[1]
    assert lines[2].startswith("2,500 ")
    assert len({len(line) for line in lines[:3]}) == 1
    (run, *_) = format_results(load_test([result([1] * 10), result([3] * 10)])).splitlines()[1:]
    assert run.startswith("100 ")  # repeated runs are one line
    assert "3.00 ms" in run


def test_several_models_have_indented_lines_of_their_own(load_test, result):
    one = Histogram()
    one.record(np.array([7_000_000]))
    lines = format_results(load_test([result(latency_of={"a": one, "b": one})], models=("a", "b"))).splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["a", "b"]
    assert lines[2].startswith("  a ")
    assert "7.00 ms" in lines[2]
    assert not any(line.endswith(" ") for line in lines)


def test_objective_has_a_column_of_verdicts(load_test, result):
    one = Histogram()
    one.record(np.array([7_000_000]))
    results = [result([1] * 1000), result([9] * 1000, rate=200), result([1], rate=300, latency_of={"a": one, "b": one})]
    lines = format_results(load_test(results, "p99=5ms", models=("a", "b"))).splitlines()
    assert [line.split("  ")[-1].strip() for line in lines[:4]] == ["verdict", "held", "not held", "undecided"]
    assert lines[4].split()[0] == "a"
    assert not any(line.endswith(" ") for line in lines)


def test_sessions_have_their_jitter(load_test, result):
    """Its deviation, and p99 less p50: 1, 2 and 6 ms have a mean of 3 ms and a deviation of 2.16 ms."""
    test = load_test([result([1, 2, 6], sessions=1, lags=[0.5]), result([1], sessions=1000)])
    lines = format_results(test).splitlines()
    assert lines[0].split()[:9] == [
        "sessions", "answers/s", "p50", "p90", "p99", "p99.9", "max", "deviation", "p99-p50",
    ]  # fmt: skip
    assert lines[1].split()[0] == "1"
    assert "  2.16 ms  4.00 ms  " in lines[1]
    assert "500 µs" in lines[1]
    assert lines[2].startswith("1000 ")
    assert len({len(line) for line in lines[:3]}) == 1
