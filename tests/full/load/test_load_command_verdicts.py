"""`rnnserve load`: a search, and options that don't go together."""

import grpc
import pytest


def test_objective_without_rates_is_searched_for(load, walks):
    walks.failure, walks.failing = (grpc.StatusCode.UNAVAILABLE, "no"), {"ModelInfer"}
    status, output, errors = load("--slo", "p50=5s", "--duration", "0.05", "--warmup", "0")
    assert status == 1
    assert errors.count("requests/s") > 3
    assert "missed: p50=5s, already at " in output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--compare a.json b.json --rate 5", "--compare reads two files and sends nothing: leave out --rate"),
        ("--compare a.json b.json --json -", "sends nothing: leave out --json"),
        ("--compare nowhere.json b.json", "nowhere.json: cannot be read (No such file or directory)"),
        ("--repeat a.json walks --max-requests 5", "leave out MODEL, --max-requests"),
        ("--repeat nowhere.json", "nowhere.json: cannot be read (No such file or directory)"),
    ],
)
def test_option_that_does_not_go_with_a_file_is_refused_in_one_line(load, words, said):
    status, output, errors = load(*words.split())
    assert (status, output) == (1, "")
    assert errors.startswith("rnnserve load: ")
    assert said in errors
    assert errors.count("\n") == 1
