"""`rnnserve load` with objectives, scenarios and runs; its documents repeated and compared."""

import json

import grpc
import pytest

QUICK = ["--rate", "100", "--duration", "0.3", "--warmup", "0.1"]


def test_an_objective_that_no_rate_holds_fails(load):
    status, output, _ = load("--rate", "20,40", "--duration", "0.2", "--warmup", "0", "--slo", "p50=1us")
    assert status == 1
    assert "p50=1us, 99% confidence" in output


def test_without_rates_an_objective_is_searched_for(load, walks):
    walks.failure = (grpc.StatusCode.UNAVAILABLE, "no")
    status, output, errors = load("--slo", "p50=5s", "--duration", "0.05", "--warmup", "0")
    assert status == 1
    assert errors.count("requests/s") > 3
    assert "not held: p50=5s, 99% confidence, not even at " in output


def test_a_load_that_is_decided_ends_early(load, tmp_path):
    words = [
        "--rate",
        "200",
        "--duration",
        "8",
        "--warmup",
        "0",
        "--slo",
        "p50=1us",
        "--html",
        str(tmp_path / "r.html"),
    ]
    status, output, _ = load(*words, "--json", str(tmp_path / "r.json"))
    assert status == 1
    assert "since the objective was decided by then" in output
    found = json.loads((tmp_path / "r.json").read_text())
    (point,) = found["points"]
    objective = found["objective"]
    assert (objective["text"], objective["confidence"], objective["holds_at"]) == ("p50=1us", 0.99, None)
    assert objective["decision"] == point["verdict"]["decision"]
    assert objective["decision"] in ("not held", "undecided"), "undecided where the machine made the generator late"
    assert (point["decided_early"], point["cut_short"]) == (True, False)
    assert point["seconds"] < 8
    assert point["sent"] < 1000
    limit = point["verdict"]["limits"][0]
    assert limit["decision"] == "not held"
    assert 0 < limit["over"] <= limit["counted"] < point["sent"]
    heading = f"{objective['decision'].capitalize()}: p50=1us, 99% confidence"
    assert heading in (tmp_path / "r.html").read_text()


def test_failures_end_a_load_early(load, walks):
    walks.failure = (grpc.StatusCode.UNAVAILABLE, "no")
    status, output, _ = load("--rate", "100", "--duration", "8", "--warmup", "0", "--slo", "p50=1s")
    assert status == 1
    assert "since the objective was decided by then" in output
    assert "not held: p50=1s, 99% confidence, not even at 100 requests/s (" in output


def test_an_objective_that_is_held_passes(load):
    words = ["--rate", "100", "--duration", "0.4", "--warmup", "0", "--slo", "p50=2s"]
    status, output, _ = load(*words, "--processes", "2", "--confidence", "95%")
    assert status == 0
    assert "held: p50=2s, 95% confidence, at 100 requests/s (p50: 0 of " in output


def test_too_few_requests_decide_nothing(load):
    status, output, _ = load(*QUICK, "--arrivals", "constant", "--slo", "p99=4s", "--no-early-stop")
    assert status == 1
    assert "undecided: p99=4s, 99% confidence, at 100 requests/s (p99: 0 of 30 over 4.00 s, which is too few" in output
    assert "459 requests, none of the further ones over, would show it" in output


def test_a_test_is_repeated_from_its_file_and_compared(load, walks, tmp_path):
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
    assert documents[0]["workload"]["models"] == {"walks": 1.0}
    (point,) = documents[0]["points"]
    assert len(point["runs"]) == 2
    assert point["intervals"]["p50"]["values"] == 2
    status, output, errors = load("--compare", *files)
    assert (status, errors) == (0, "")
    assert output.startswith("load")
    assert "answers/s" in output


def test_scenarios_are_loads_by_name(load, walks):
    words = ["--duration", "60", "--warmup", "0", "--max-requests", "70"]
    status, output, _ = load("--scenario", "multi-stream", *words)
    assert status == 0
    assert {request.inputs[0].shape[0] for request in walks.requests} == {8}
    assert "multi-stream: 70 requests are too few for an estimate of the p99" in output
    assert "single-stream: the p90 is " in load("--scenario", "single-stream", *words)[1]


def test_generators_may_be_as_many_as_it_takes(measured):
    status, point = measured(*QUICK, "--processes", "auto")
    assert status == 0
    assert len(point["generator_cpu"]) >= 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--compare", "a.json", "b.json", "--rate", "5"],
            "--compare reads two files and sends nothing: leave out --rate",
        ),
        (["--compare", "a.json", "b.json", "--json", "-"], "sends nothing: leave out --json"),
        (["--compare", "nowhere.json", "b.json"], "nowhere.json: cannot be read (No such file or directory)"),
        (["--repeat", "a.json", "walks", "--max-requests", "5"], "leave out MODEL, --max-requests"),
        (["--repeat", "nowhere.json"], "nowhere.json: cannot be read (No such file or directory)"),
    ],
)
def test_what_does_not_go_with_a_file_is_one_line(load, words, said):
    status, output, errors = load(*words)
    assert (status, output) == (1, "")
    assert errors.startswith("rnnserve load: ")
    assert said in errors
    assert errors.count("\n") == 1
