"""`rnnserve load` with an objective, and with several runs."""

import json

import grpc

QUICK = ["--rate", "100", "--duration", "0.3", "--warmup", "0.1"]


def test_objective_that_is_met_passes(load):
    words = ["--rate", "100", "--duration", "0.4", "--warmup", "0", "--slo", "p50=2s"]
    status, output, _ = load(*words, "--processes", "2", "--confidence", "95%")
    assert status == 0
    assert "met: p50=2s, at 100 requests/s: 0 of " in output
    assert "with 95% confidence" in output


def test_too_few_requests_are_inconclusive(load):
    status, output, _ = load(*QUICK, "--arrivals", "constant", "--slo", "p99=4s")
    assert status == 1
    assert "inconclusive: p99=4s, at 100 requests/s: 0 of 30 requests took longer than 4.00 s" in output


def test_load_ends_early_when_it_cannot_meet_the_objective(load, walks):
    words = ["--rate", "100", "--duration", "20", "--warmup", "0", "--json", "-"]
    status, output, errors = load(*words, "--slo", "p50=1s,p90=1us")
    (point,) = json.loads(output)["points"]
    assert (status, point["decided_early"], point["cut_short"]) == (1, True, False)
    assert point["seconds"] < 15
    assert " s because p90 was above 1.00 µs" in errors
    walks.failure, walks.failing = (grpc.StatusCode.UNAVAILABLE, "no"), {"ModelInfer"}
    status, output, errors = load(*words, "--slo", "p50=1s")
    (point,) = json.loads(output)["points"]
    assert (point["decided_early"], point["verdict"]["decision"]) == (True, "missed")
    assert " s because requests failed" in errors


def test_load_goes_on_without_early_stop(measured):
    status, point = measured(*QUICK, "--slo", "p50=1us", "--no-early-stop")
    assert (status, point["decided_early"], point["seconds"]) == (1, False, 0.3)


def test_runs_have_intervals_and_send_the_same_workload_again(load, walks, tmp_path):
    words = ["--rate", "100", "--duration", "0.5", "--warmup", "0.1", "--length", "2:9", "--json", str(tmp_path / "a")]
    sent = []
    for _ in range(2):
        walks.requests.clear()
        _, output, errors = load(*words, "--runs", "2", "--processes", "2", "--seed", "5")
        sent.append(sorted(request.SerializeToString() for request in walks.requests))
    assert sent[0] == sent[1]
    assert errors.splitlines()[-1].startswith("[2/2] 100 requests/s: ")
    assert "mean of 2 runs with 99% confidence: answers/s " in output
    (point,) = json.loads((tmp_path / "a").read_text())["points"]
    assert len(point["runs"]) == 2
    assert point["intervals"]["p50"]["low"] <= point["intervals"]["p50"]["mean"]
