import json

import pytest

from rnnserve.load.results_document import build_results_document


def test_document_is_json_and_holds_the_histogram(load_test, sweep, run):
    found = json.loads(json.dumps(build_results_document(load_test(sweep, "p99=20ms"), run)))
    assert (found["format"], found["passed"], found["objective"]["holds_at"]) == ("rnnserve load 3", True, 200)
    assert (found["objective"]["decision"], found["objective"]["confidence"]) == ("met", 0.99)
    assert found["workload"] == {"models": {"walks": 1.0}, "length": "4"}
    assert [point["verdict"]["decision"] for point in found["points"][:4]] == ["met", "met", "inconclusive", "missed"]
    (limit,) = found["points"][0]["verdict"]["limits"]
    assert (limit["percentile"], limit["limit"], limit["counted"], limit["over"]) == (99.0, 20_000_000, 600, 0)
    assert (limit["share_over"]["low"], limit["share_over"]["high"]) == (0, pytest.approx(0.01, abs=2e-3))
    assert not limit["may_be_the_generator"]
    first = found["points"][0]
    assert (first["rate"], first["closed"], first["sent"]) == (100, None, 600)
    assert sum(count for _, count in first["latency"]["buckets"]) == first["latency"]["count"] == 600
    assert first["latency"]["percentiles"]["50"] == sweep[0].latency.percentile(50)
    assert first["batches"] == {"1": 400, "3": 20}


def test_point_has_its_runs_and_their_intervals(load_test, result, run):
    document = json.loads(json.dumps(build_results_document(load_test([result([1] * 10), result([3] * 30)]), run)))
    (point,) = document["points"]
    assert (point["sent"], point["seconds"], point["answers_per_second"]) == (40, 2.0, 20.0)
    assert [(run["requests"], run["answers/s"]) for run in point["runs"]] == [(10, 10.0), (30, 30.0)]
    interval = point["intervals"]["answers/s"]
    assert (interval["mean"], interval["values"], interval["confidence"]) == (20.0, 2, 0.99)
    assert interval["low"] < 0 < 40 < interval["high"]
