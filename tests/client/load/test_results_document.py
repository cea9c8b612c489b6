import json

from rnnserve.client.load.results_document import build_results_document


def test_the_document_is_json_and_holds_the_histogram(load_test, sweep, run):
    found = json.loads(json.dumps(build_results_document(load_test(sweep, "p99=15ms"), run)))
    assert (found["format"], found["passed"], found["objective"]["holds_at"]) == ("rnnserve load 1", True, 200)
    first = found["points"][0]
    assert (first["rate"], first["closed"], first["sent"]) == (100, None, 500)
    assert sum(count for _, count in first["latency"]["buckets"]) == first["latency"]["count"] == 500
    assert first["latency"]["percentiles"]["50"] == sweep[0].statistics.latency.percentile(50)
    assert first["batches"] == {"1": 400, "3": 20}


def test_batch_sizes_are_left_out_if_the_server_does_not_report_them(load_test, result, run):
    assert "batches" not in build_results_document(load_test([result()]), run)["points"][0]


def test_sessions_and_their_jitter(load_test, result, run):
    (point,) = build_results_document(load_test([result([1, 2, 6], sessions=3, lags=[1, 3])]), run)["points"]
    assert (point["sessions"], point["think_seconds"], point["closed"], point["arrivals"]) == (3, 0.01, None, None)
    jitter = point["jitter"]
    assert abs(jitter["latency_deviation"] - 2.16e6) < 5e3
    assert abs(jitter["latency_p99_less_p50"] - 4e6) < 8e3
    assert abs(jitter["send_lag_deviation"] - 1e6) < 4e3
    (point,) = build_results_document(load_test([result([1, 2, 6])]), run)["points"]
    assert (point["sessions"], point["think_seconds"], point["arrivals"]) == (None, None, "poisson")
