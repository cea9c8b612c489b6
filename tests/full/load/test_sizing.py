"""`rnnserve size`: how many servers carry a rate, by the document of a load test."""

import json

import pytest

from rnnserve.cli import main
from rnnserve.load.latency_objective import parse_objective
from rnnserve.load.results_document import build_results_document
from rnnserve.load.sizing import MeasuredRate, find_capacity, size_line
from rnnserve.load.verdict import Decision

HELD, NOT_HELD, UNDECIDED = Decision.HELD, Decision.NOT_HELD, Decision.UNDECIDED


def rate(number, decision, milliseconds, failed=0):
    return MeasuredRate(number, decision, (1_000_000 * milliseconds,), failed)


@pytest.mark.parametrize(
    ("measured", "carries"),
    [
        ([rate(100, HELD, 5), rate(200, HELD, 8)], 200),
        ([rate(200, HELD, 10), rate(100, HELD, 5), rate(400, NOT_HELD, 30)], 300),  # a straight line, 10 to 30 ms
        ([rate(200, HELD, 10), rate(400, UNDECIDED, 19)], 200),  # meets the limit, but wasn't shown to
        ([rate(200, HELD, 10), rate(400, NOT_HELD, 30, failed=1)], 200),  # failures aren't slowness
    ],
)
def test_capacity_lies_between_rates_that_were_measured(measured, carries):
    assert find_capacity(measured, parse_objective("p99=20ms")).rate == pytest.approx(carries)


def test_size_prints_the_servers_for_a_rate_or_what_the_file_lacks(load_test, sweep, run, tmp_path, capsys):
    test = load_test(sweep, "p50=4ms")
    document = json.loads(json.dumps(build_results_document(test, run)))
    document["workload"] |= {"inputs": None, "batch": "1"}
    words = ["size", str(tmp_path / "load.json"), "--target-rate", "5000"]
    (tmp_path / "load.json").write_text(json.dumps(document))
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 400 < found["rate_of_one"] < 800
    assert found["servers"] == found["carrying"] + 1 == -(-5000 // found["rate_of_one"]) + 1
    assert size_line(test).endswith(f"5,000/s need {found['carrying']} + 1 (rnnserve size, from --json)")
    (tmp_path / "load.json").write_text(json.dumps(document | {"objective": None}))
    assert main(words) == 1
    assert "has no objective: give one, --slo p99=20ms" in capsys.readouterr().err
