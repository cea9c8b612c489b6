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
    workload = {"models": {"walks": 1.0}, "rate": [500.0], "seed": 13, "length": "4", **workload}
    return {"workload": workload, "points": points, "machine": {"cores": "2"}, "server": {"version": "1"}}


def compare(before, after, confidence=0.99):
    return compare_documents(before, after, confidence, ("a.json", "b.json"))


def differing(comparison):
    return {(one.load, one.figure) for one in comparison.differences if not one.is_noise}


@pytest.mark.parametrize("runs", [1, 5])
def test_difference_of_a_tenth_is_more_than_noise_of_a_hundredth(runs):
    found = compare(document(1, runs=runs), document(2, runs=runs, mean=1.1e6))
    assert differing(found) == {("500 requests/s", figure) for figure in ("mean", "p50", "p90", "p99")}
    assert len(found.differences) == 5
    for one in found.differences[1:]:
        assert (one.before, one.after) == (pytest.approx(1e6, rel=0.02), pytest.approx(1.1e6, rel=0.02))


def test_runs_are_compared_if_both_have_several_and_else_parts():
    other = document(2, runs=2, seed=14) | {"machine": {"cores": "4"}, "server": {"version": "2"}}
    assert compare(document(1, runs=3), other).notes == [
        "generator's machine: cores was 2, then 4",
        "server: version was 1, then 2",
        "seed: 13, then 14",
    ]
    (note,) = compare(document(1, runs=3), document(2)).notes
    assert "by parts of one run each, which do not show how much runs differ; use --runs 5" in note


def test_percentiles_of_few_requests_are_left_out():
    for requests, left in ((199, {"answers/s", "mean", "p50", "p90"}), (9, {"answers/s"})):
        found = compare(document(1, requests=requests), document(2))
        assert {one.figure for one in found.differences} == left
        assert f"p99 is left out: {requests} requests in a part are too few" in "\n".join(found.notes)


def test_only_loads_of_both_files_and_equal_workloads_are_compared():
    found = compare(document(1, rates=(500.0, 700.0)), document(2, rates=(700.0, 900.0)))
    assert {one.load for one in found.differences} == {"700 requests/s"}
    with pytest.raises(InvalidRequest, match="cannot be compared: no load is in both"):
        compare(document(1), document(2, rates=(700.0,)))
    other = document(2, rate=[700.0, 800.0], models={"walks": 1.0, "others": 2.0}, length=None)
    with pytest.raises(InvalidRequest) as raised:
        compare(document(1), other)
    for difference in (
        "models is walks=1 in a.json and walks=1 others=2 in b.json",
        "rate is 500.0 in a.json and 700.0,800.0 in b.json",
        "length is 4 in a.json and not given in b.json",
    ):
        assert difference in str(raised.value)


def test_comparison_is_a_table_and_a_summary():
    lines = format_comparison(compare(document(1, runs=5), document(2, runs=5, mean=2e6))).splitlines()
    assert lines[0].split() == ["load", "figure", "before", "after", "change", "noise", "verdict"]
    assert lines[1].split()[2:] == ["answers/s", "500", "500", "+0.0%", "±0.0%", "noise"]
    assert lines[3].startswith("500 requests/s        p50")
    assert lines[3].endswith("more than noise")
    assert lines[-1] == "4 of 5 differences are more than noise (99% confidence for all of them together)"


def test_documents_as_they_are_written_are_compared_and_edited_ones_refused(load_test, sweep, run):
    def written():
        return json.loads(json.dumps(build_results_document(load_test(sweep), run)))

    found = compare(written(), written())
    assert len({one.load for one in found.differences}) == 7
    assert differing(found) == set()
    for change, said in (
        (lambda file: file.pop("workload"), "a.json: holds no workload with its results"),
        (lambda file: file.pop("points"), "a.json: holds no workload with its results"),
        (lambda file: file["points"][0].pop("runs"), "was the file edited"),
        (lambda file: file["points"][0].update(rate=None), "was the file edited"),
    ):
        edited = written()
        change(edited)
        with pytest.raises(InvalidRequest, match=said):
            compare(edited, written())
