"""The workload of the command line: its levels, and how the document describes it."""

import argparse
import json

from rnnserve.load.commands.options import add_arguments, complete_arguments, document_workload, load_levels

WEIGHTS = {"walks": 3.0, "others": 1.0}


def completed(*words):
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_arguments(parser)
    args = parser.parse_args(words)
    complete_arguments(args)
    return args


def document(*words):
    return json.loads(json.dumps(document_workload(completed(*words), WEIGHTS)))


def test_document_has_every_option_and_its_default():
    found = document()
    assert found["models"] == WEIGHTS
    assert [found[name] for name in ("rate", "length", "batch", "seed", "pool")] == [[100.0], "4", "1", 13, 512]
    assert [found[name] for name in ("think", "steps", "slo", "inputs")] == [None] * 4
    found = document("--sessions=2", "--think=1.5ms", "--slo=p50=1ms,p99.9=20ms", "--batch=1:8")
    assert [found[name] for name in ("sessions", "think", "steps")] == [[2], 0.0015, 100]
    assert [found[name] for name in ("slo", "length", "batch")] == ["p50=1ms,p99.9=20ms", "1", "1:8"]
    assert document("--inputs=rows.npz")["inputs"] == "rows.npz"


def test_load_may_end_early_if_it_has_an_objective_and_one_run():
    for words, ends_early in (
        ("--slo=p99=5ms", True),
        ("", False),
        ("--slo=p99=5ms --no-early-stop", False),
        ("--slo=p99=5ms --runs=2", False),
    ):
        (level,) = load_levels(completed("--rate=5", *words.split()))
        assert level.ends_early is ends_early


def test_search_begins_at_a_rate_that_can_be_decided():
    for words, rate in (
        ("--slo=p99=5ms", 105),  # 2 * 527 requests in 10 s
        ("--slo=p90=5ms", 100),
        ("--slo=p99.9=5ms", 1060),  # 2 * 5,296 requests in 10 s
        ("--slo=p50=5ms,p99=9ms --duration=1", 1050),
        ("--slo=p100=5ms --duration=1", 100),
    ):
        (level,) = load_levels(completed(*words.split()))
        assert level.rate == rate
