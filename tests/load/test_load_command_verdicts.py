"""`rnnserve load` with an objective, and a document that is repeated and compared."""

import json

import grpc

QUICK = ["--rate", "100", "--duration", "0.3", "--warmup", "0.1"]


def test_objective_that_is_held_passes(load):
    words = ["--rate", "100", "--duration", "0.4", "--warmup", "0", "--slo", "p50=2s"]
    status, output, _ = load(*words, "--processes", "2", "--confidence", "95%")
    assert status == 0
    assert "held: p50=2s, 95% confidence, at 100 requests/s (p50: 0 of " in output


def test_too_few_requests_decide_nothing(load):
    status, output, _ = load(*QUICK, "--arrivals", "constant", "--slo", "p99=4s", "--no-early-stop")
    assert status == 1
    assert "undecided: p99=4s, 99% confidence, at 100 requests/s (p99: 0 of 30 over 4.00 s, which is too few" in output
    assert "459 requests, none of the further ones over, would show it" in output


def test_load_ends_early_when_failures_have_decided_it(load, walks, tmp_path):
    walks.failure, walks.failing = (grpc.StatusCode.UNAVAILABLE, "no"), {"ModelInfer"}
    words = ["--rate", "100", "--duration", "8", "--warmup", "0", "--slo", "p50=1s", "--json", str(tmp_path / "r.json")]
    status, output, _ = load(*words)
    assert status == 1
    assert "since the objective was decided by then" in output
    assert "not held: p50=1s, 99% confidence, not even at 100 requests/s (" in output
    document = json.loads((tmp_path / "r.json").read_text())
    (point,) = document["points"]
    assert (document["objective"]["decision"], point["decided_early"], point["cut_short"]) == ("not held", True, False)
    assert point["seconds"] < 8


def test_test_is_repeated_from_its_document_and_compared(load, walks, tmp_path):
    files = [str(tmp_path / name) for name in ("a.json", "b.json")]
    words = ["--rate", "100", "--arrivals", "gamma", "--duration", "0.5", "--warmup", "0.1", "--length", "2:9"]
    _, _, errors = load(*words, "--runs", "2", "--processes", "2", "--seed", "5", "--json", files[0])
    assert errors.splitlines()[-1].startswith("[2/2] 100 requests/s: ")
    first = sorted(request.SerializeToString() for request in walks.requests)
    walks.requests.clear()
    assert load("--repeat", files[0], "--json", files[1])[0] == 0
    assert sorted(request.SerializeToString() for request in walks.requests) == first
    documents = [json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json")]
    assert documents[0]["workload"] == documents[1]["workload"]
    (point,) = documents[0]["points"]
    assert len(point["runs"]) == 2
    assert point["intervals"]["p50"]["values"] == 2
    status, output, errors = load("--compare", *files)
    assert (status, errors) == (0, "")
    assert output.startswith("load")
    assert "answers/s" in output
