"""Comparing the documents of two load tests: a difference is more than noise, or isn't."""

import json

import numpy as np
import pytest

from rnnserve.client.errors import InvalidRequest
from rnnserve.load.comparison import compare_documents, format_comparison
from rnnserve.load.results_document import build_results_document


def figures(random, mean, requests):
    """Figures of a run, or of a part, that vary by a hundredth of their mean."""
    latencies = {name: float(random.normal(mean, mean / 100)) for name in ("mean", "p50", "p90", "p99")}
    return {"requests": requests, "answers/s": 500.0, **latencies}


def document(drawn, *, runs=1, rates=(500.0,), mean=1e6, requests=1000, **workload):
    random = np.random.default_rng(drawn)

    def run():
        parts = [figures(random, mean, requests) for _ in range(8)]
        return {**figures(random, mean, requests), "parts": parts}

    points = [{"rate": rate, "closed": None, "sessions": None, "runs": [run() for _ in range(runs)]} for rate in rates]
    workload = {"models": {"walks": 1.0}, "rate": [500.0], "seed": 13, **workload}
    return {"workload": workload, "points": points, "machine": {"cores": "2"}, "server": {"version": "1"}}


def compare(before, after):
    return compare_documents(before, after, 0.99, ("a.json", "b.json"))


def differing(comparison):
    return {one.figure for one in comparison.differences if not one.is_noise}


@pytest.mark.parametrize("runs", [1, 5])
def test_difference_of_a_tenth_is_more_than_noise_of_a_hundredth(runs):
    found = compare(document(1, runs=runs), document(2, runs=runs, mean=1.1e6))
    assert differing(found) == {"mean", "p50", "p90", "p99"}
    for one in found.differences[1:]:
        assert (one.before, one.after) == (pytest.approx(1e6, rel=0.02), pytest.approx(1.1e6, rel=0.02))
    lines = format_comparison(found).splitlines()
    assert lines[0].split() == ["load", "figure", "before", "after", "change", "noise", "verdict"]
    assert lines[1].split()[2:] == ["answers/s", "500", "500", "+0.0%", "±0.0%", "noise"]
    assert lines[3].endswith("more than noise")
    assert any(line.startswith("4 of 5 differences are more than noise (99% confidence") for line in lines)


def test_notes_name_what_limits_the_comparison():
    notes = compare(document(1, requests=199), document(2, seed=14) | {"machine": {"cores": "4"}}).notes
    for note in (
        "by parts of one run each, which do not show how much runs differ; use --runs 5",
        "p99 is left out: 199 requests in a part are too few, it takes 200",
        "generator's machine: cores was 2, then 4",
        "seed: 13, then 14",
    ):
        assert note in "\n".join(notes)


def test_only_equal_workloads_and_loads_of_both_are_compared(load_test, sweep, run):
    found = compare(document(1, rates=(500.0, 700.0)), document(2, rates=(700.0, 900.0)))
    assert {one.load for one in found.differences} == {"700 requests/s"}
    written = json.loads(json.dumps(build_results_document(load_test(sweep), run)))
    assert differing(compare(written, written)) == set()
    for other, said in (
        (document(2, rates=(700.0,)), "cannot be compared: no load is in both"),
        (document(2, models={"walks": 1.0, "others": 2.0}), "models is walks=1 in a.json and walks=1 others=2 in b.js"),
        ({"points": []}, "b.json: holds no workload with its results"),
        (document(2) | {"points": [{"rate": 500.0}]}, "was the file edited"),
    ):
        with pytest.raises(InvalidRequest, match=said):
            compare(document(1), other)
