"""Comparing the documents of two load tests: a figure has changed, or no change is shown."""

import numpy as np
import pytest

from rnnserve.client.errors import InvalidRequest
from rnnserve.load.comparison import compare_documents, format_comparison


def document(drawn, *, runs=5, rates=(500.0,), mean=1e6, **workload):
    """A document whose latencies vary between runs by a hundredth of their mean."""
    random = np.random.default_rng(drawn)

    def run():
        latencies = {name: float(random.normal(mean, mean / 100)) for name in ("mean", "p50", "p90", "p99")}
        return {"answers/s": 500.0, **latencies}

    points = [{"rate": rate, "closed": None, "sessions": None, "runs": [run() for _ in range(runs)]} for rate in rates]
    workload = {"models": {"walks": 1.0}, "rate": [500.0], "seed": 13, **workload}
    return {"workload": workload, "points": points, "machine": {"cores": "2"}, "server": {"version": "1"}}


def compare(before, after):
    return compare_documents(before, after, 0.99, ("a.json", "b.json"))


def test_difference_of_a_tenth_is_more_than_runs_that_differ_by_a_hundredth():
    differences, _ = compare(document(1), document(2, mean=1.1e6))
    assert {each.figure for each in differences if each.has_changed} == {"mean", "p50", "p90", "p99"}
    lines = format_comparison(differences, ["a note"], 0.99).splitlines()
    assert lines[0].split() == [
        "load", "figure", "before", "after", "change", "interval", "at", "99%", "verdict",
    ]  # fmt: skip
    assert lines[1].split()[2:] == ["answers/s", "500", "500", "+0.0%", "+0.0%", "to", "+0.0%", "no", "change", "shown"]
    assert lines[3].endswith("changed")
    assert lines[-2].startswith("4 of 5 figures changed")
    assert lines[-1] == "a note"
    differences, _ = compare(document(1), document(2))
    assert not any(each.has_changed for each in differences)


def test_one_run_shows_no_interval():
    differences, _ = compare(document(1, runs=1), document(2, mean=1.1e6))
    assert {each.has_changed for each in differences} == {None}
    text = format_comparison(differences, [], 0.99)
    assert "one run does not show how much runs differ: measure both with --runs 5" in text


def test_only_equal_workloads_and_loads_of_both_are_compared():
    differences, notes = compare(document(1, rates=(500.0, 700.0)), document(2, rates=(700.0, 900.0), seed=14))
    assert {each.load for each in differences} == {"700 requests/s"}
    assert notes == []
    assert compare(document(1), document(2) | {"machine": {"cores": "4"}})[1] == [
        "generator's machine: cores was 2, then 4"
    ]
    for other, said in (
        (document(2, rates=(700.0,)), "cannot be compared: no load is in both"),
        (document(2, models={"walks": 1.0, "others": 2.0}), "models is walks=1 in a.json and walks=1 others=2 in b.js"),
        (document(2) | {"points": [{"rate": 500.0}]}, "was the file edited"),
    ):
        with pytest.raises(InvalidRequest, match=said):
            compare(document(1), other)
