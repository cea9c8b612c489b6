import copy
import json

import numpy as np
import pytest

from rnnserve.client.errors import InvalidRequest
from rnnserve.load.comparison import compare_documents, format_comparison
from rnnserve.load.results_document import build_results_document

NAMES = ("a.json", "b.json")


def values(random, *, mean=1e6, requests=1000):
    """Figures of a run, or of a part, that vary by a hundredth of their mean."""
    return {
        "requests": requests,
        "answers/s": 500.0,
        **{name: float(random.normal(mean, mean / 100)) for name in ("mean", "p50", "p90", "p99")},
    }


def document(seed, *, runs=1, rates=(500.0,), workload=(), **settings):
    random = np.random.default_rng(seed)
    points = [
        {
            "rate": rate,
            "closed": None,
            "sessions": None,
            "runs": [
                {**values(random, **settings), "parts": [values(random, **settings) for _ in range(8)]}
                for _ in range(runs)
            ],
        }
        for rate in rates
    ]
    written = {"models": {"walks": 1.0}, "rate": [500.0], "seed": 13, "length": "4", **dict(workload)}
    return {"workload": written, "points": points, "machine": {"cores": "2"}, "server": {"version": "1"}}


def compare(before, after, confidence=0.99):
    return compare_documents(before, after, confidence, NAMES)


def differing(comparison):
    return {(one.load, one.figure) for one in comparison.differences if not one.is_noise}


@pytest.mark.parametrize("runs", [1, 5])
def test_a_difference_of_a_tenth_is_more_than_noise_of_a_hundredth(runs):
    found = compare(document(1, runs=runs), document(2, runs=runs, mean=1.1e6))
    assert differing(found) == {("500 requests/s", figure) for figure in ("mean", "p50", "p90", "p99")}
    assert len(found.differences) == 5
    for one in found.differences[1:]:
        assert (one.before, one.after) == (pytest.approx(1e6, rel=0.02), pytest.approx(1.1e6, rel=0.02))


@pytest.mark.parametrize("runs", [1, 5])
def test_without_a_change_differences_are_called_noise_as_often_as_the_confidence_says(runs):
    changed = [
        bool(differing(compare(document(seed, runs=runs), document(-seed - 1 & 0xFFFF, runs=runs), 0.9)))
        for seed in range(300)
    ]
    assert 0.02 < np.mean(changed) <= 0.1 + 0.035  # two standard deviations of 300 draws


def test_runs_are_compared_if_both_have_some_and_else_parts():
    both, one = compare(document(1, runs=3), document(2, runs=2)), compare(document(1, runs=3), document(2))
    assert both.notes == []
    assert "by parts of one run each, which do not show how much runs differ; use --runs 5" in one.notes[0]


def test_figures_without_spread_differ_if_they_are_not_equal():
    before, after = document(1), document(2)
    for part in after["points"][0]["runs"][0]["parts"]:
        part["answers/s"] = 499.0
    assert ("500 requests/s", "answers/s") in differing(compare(before, after))
    assert ("500 requests/s", "answers/s") not in differing(compare(before, document(2)))


@pytest.mark.parametrize(("requests", "left"), [(199, {"answers/s", "mean", "p50", "p90"}), (9, {"answers/s"})])
def test_latencies_of_few_requests_are_left_out(requests, left):
    found = compare(document(1, requests=requests), document(2))
    assert {one.figure for one in found.differences} == left
    assert f"p99 is left out: {requests} requests in a part are too few, it takes 200" in "\n".join(found.notes)


def test_only_loads_that_both_have_are_compared():
    found = compare(document(1, rates=(500.0, 700.0)), document(2, rates=(700.0, 900.0)))
    assert {one.load for one in found.differences} == {"700 requests/s"}
    with pytest.raises(InvalidRequest, match="cannot be compared: no load is in both"):
        compare(document(1), document(2, rates=(700.0,)))


def test_different_workloads_are_refused_in_words():
    other = document(2, workload={"rate": [700.0, 800.0], "models": {"walks": 1.0, "others": 2.0}, "length": None})
    with pytest.raises(InvalidRequest) as raised:
        compare(document(1), other)
    assert str(raised.value) == (
        "the workloads differ, so that their results do not compare: models is walks=1 in a.json and walks=1 others=2 "
        "in b.json; rate is 500.0 in a.json and 700.0,800.0 in b.json; length is 4 in a.json and not given in b.json"
    )


def test_circumstances_that_differ_are_told():
    other = document(2, workload={"seed": 14})
    other["machine"], other["server"] = {"cores": "4"}, {"version": "2", "address": "elsewhere"}
    notes = compare(document(1), other).notes
    assert notes[1:] == [
        "generator's machine: cores was 2, then 4",
        "server: version was 1, then 2",
        "seed: 13, then 14",
    ]


def test_a_comparison_is_a_table_and_a_summary():
    text = format_comparison(compare(document(1, runs=5), document(2, runs=5, mean=2e6)))
    lines = text.splitlines()
    assert lines[0].split() == ["load", "figure", "before", "after", "change", "noise", "verdict"]
    assert lines[1].split()[2:] == ["answers/s", "500", "500", "+0.0%", "±0.0%", "noise"]
    assert lines[3].startswith("500 requests/s        p50")
    assert lines[3].endswith("more than noise")
    assert lines[-1] == "4 of 5 differences are more than noise (99% confidence for all of them together)"


def test_a_load_without_answers_has_no_relative_change():
    before, after = document(1), document(2)
    for each in (before, after):
        for part in each["points"][0]["runs"][0]["parts"]:
            part |= {"answers/s": 0.0, "requests": 0}
    assert "      0      0       -      -  " in format_comparison(compare(before, after))


@pytest.mark.parametrize("missing", ["workload", "points"])
def test_a_file_without_a_workload_or_results_is_refused(missing):
    other = document(2)
    del other[missing]
    with pytest.raises(InvalidRequest, match=r"b\.json: holds no workload with its results"):
        compare(document(1), other)


@pytest.mark.parametrize("edit", [lambda point: point.pop("runs"), lambda point: point.update(rate=None)])
def test_a_file_that_was_edited_is_told(edit):
    broken = copy.deepcopy(document(1))
    edit(broken["points"][0])
    with pytest.raises(InvalidRequest, match="was the file edited"):
        compare(broken, document(2))


def test_results_as_they_are_written_are_compared(load_test, sweep, run):
    written = json.loads(json.dumps(build_results_document(load_test(sweep), run)))
    found = compare(written, written)
    assert {one.load for one in found.differences} == {
        f"{rate:,} requests/s" for rate in (100, 200, 400, 800, 1600, 3200, 6400)
    }
    assert differing(found) == set()
