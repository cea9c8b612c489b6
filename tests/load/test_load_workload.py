"""The workload of the command line: its levels, its document, and what is repeated from that."""

import json

import pytest

from rnnserve.client.errors import InvalidRequest
from rnnserve.load.commands.options import WORKLOAD_OPTIONS, parse_workload
from rnnserve.load.commands.workload import (
    complete_arguments,
    document_workload,
    load_levels,
    read_document,
    repeat_workload,
)

WEIGHTS = {"walks": 3.0, "others": 1.0}


def parse(*words):
    return parse_workload(words, "test")


def completed(*words):
    args = parse(*words)
    complete_arguments(args)
    return args


def document(args):
    return json.loads(json.dumps(document_workload(args, WEIGHTS)))


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--rate=100,250.5 --runs=3 --confidence=95%",
        "--sweep=1:5:0.7 --arrivals=constant --no-check",
        "--rate=5 --seed=0 --processes=2",
        "--closed=1,64 --batch=1:8 --length=4=3,64=1 --timeout=0.5",
        "--sessions=2 --think=1.5ms --steps=7",
        "--slo=p50=1ms,p99.9=20ms --no-early-stop --pool=17 --connections=9",
        "--slo=p99=5ms --rate=10 --max-requests=99 --warmup=0 --duration=1e3",
    ],
)
def test_workload_is_the_same_when_it_is_repeated_from_its_document(words, tmp_path):
    args = completed(*words.split())
    path = tmp_path / "load.json"
    path.write_text(json.dumps({"workload": document(args)}))
    again = parse()
    repeat_workload(again, path)
    assert again.models == ["walks=3.0", "others=1.0"]
    complete_arguments(again)
    assert document(again) == document(args)
    assert load_levels(again) == load_levels(args)


def test_document_holds_every_option_and_its_default():
    found = document(completed())
    assert set(found) == {"models", "inputs_sha256", *WORKLOAD_OPTIONS}
    assert found["models"] == WEIGHTS
    assert [found[name] for name in ("rate", "length", "batch", "seed", "pool")] == [[100.0], "4", "1", 13, 512]
    assert (found["think"], found["slo"]) == (None, None)


def test_repeated_inputs_must_have_the_same_content(tmp_path):
    inputs, path = tmp_path / "rows.npz", tmp_path / "load.json"
    inputs.write_bytes(b"rows")
    path.write_text(json.dumps({"workload": document(completed(f"--inputs={inputs}"))}))
    repeat_workload(parse(), path)
    inputs.write_bytes(b"other rows")
    with pytest.raises(InvalidRequest, match=r"rows\.npz: is not the file that was sent then; its SHA-256 was"):
        repeat_workload(parse(), path)
    inputs.unlink()
    with pytest.raises(InvalidRequest, match="cannot be read"):
        repeat_workload(parse(), path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[" * 100_000, "is not JSON"),
        (b"{}", "holds no workload"),
        (b'{"workload": {}}', "the workload names no models"),
        (b'{"workload": {"models": {"a": 1}, "rate": [-5]}}', "the workload is wrong: argument --rate"),
        (b'{"workload": {"models": {"a": 1}, "seed": {}}}', "the workload is wrong: argument --seed"),
        (b'{"workload": {"models": {"a": 1}, "scenario": "offline"}}', "there is no option --scenario any more: use"),
        (b'{"workload": {"models": {"a": 1}, "arrivals": "gamma"}}', "the workload is wrong: argument --arrivals"),
    ],
)
def test_file_without_a_workload_is_refused(tmp_path, content, said):
    path = tmp_path / "load.json"
    path.write_bytes(content)
    with pytest.raises(InvalidRequest) as raised:
        repeat_workload(parse(), path)
    assert str(raised.value).startswith(str(path))
    assert said in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    path.write_text('{"workload": {}, "points": []}')
    assert read_document(path) == {"workload": {}, "points": []}


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
