import numpy as np

from rnnserve.client.load.histogram import Histogram
from rnnserve.client.load.results_table import format_results


def test_the_table_has_a_line_for_each_load(load_test, result):
    test = load_test([result([1, 2, 3]), result([4], rate=2500, seconds=0.5, checked=1)])
    lines = format_results(test).splitlines()
    assert lines[0].split()[:6] == ["requests/s", "answers/s", "p50", "p90", "p99", "p99.9"]
    assert lines[1].startswith("100 ")
    assert "2.00 ms" in lines[1]
    assert lines[2].startswith("2,500 ")
    assert len({len(line) for line in lines[:3]}) == 1


def test_several_models_have_indented_lines_of_their_own(load_test, result):
    one = Histogram()
    one.record(np.array([7_000_000]))
    lines = format_results(load_test([result(latency_of={"a": one, "b": one})], models=("a", "b"))).splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["a", "b"]
    assert lines[2].startswith("  a ")
    assert "7.00 ms" in lines[2]
    assert not any(line.endswith(" ") for line in lines)


def test_findings_follow_the_table(load_test, result):
    assert format_results(load_test([result(checked=10)])).endswith("\n\nlabels: all 10 are as expected")
