"""`rnnserve load` against a fake server: few requests, and no limits on time."""

import json

import grpc
import pytest

from kit.load_tests import walk_model
from rnnserve.cli import main
from rnnserve.protos import inference_pb2 as pb

QUICK = ["--rate", "100", "--duration", "0.3", "--warmup", "0.1", "--arrivals", "constant"]


def test_load_counts_and_checks_every_answer(load, walks):
    status, output, errors = load(*QUICK, "--batch", "2", "--length", "2:9", "--pool", "1")
    assert status == 0
    assert len(walks.requests) == 40
    head, line, _, *said = output.splitlines()
    assert head.startswith("requests/s  answers/s")
    assert line.startswith("100  ")
    assert "answers: all 60 checked rows equal the reference outputs" in said
    assert errors.startswith("[1/1] 100 requests/s: 30 answers")


def test_answers_are_checked_unless_checks_are_off(measured, walks):
    walks.models["walks"] = walk_model(drifts_after=15)
    status, point = measured(*QUICK, "--pool", "1")
    assert (status, point["answered"]) == (1, 30)
    assert point["answers"] == {
        "compared": 30,
        "different": 25,
    }  # 10 were in the warm-up, and the first is the reference
    status, point = measured(*QUICK, "--no-check")
    assert (status, point["answers"]) == (0, {"compared": 0, "different": 0})
    walks.models["walks"] = walk_model(is_foreign=True)  # answers in typed contents
    status, point = measured(*QUICK, "--pool", "1")
    assert (status, point["answers"]) == (0, {"compared": 30, "different": 0})


@pytest.mark.parametrize(
    ("failure", "answer", "status"),
    [
        ((grpc.StatusCode.RESOURCE_EXHAUSTED, "full"), None, "RESOURCE_EXHAUSTED"),
        (None, pb.ModelInferResponse(), "INVALID_ANSWER"),
    ],
)
def test_errors_fail_and_are_counted_by_status(measured, walks, failure, answer, status):
    walks.failure, walks.failing, walks.answer = failure, {"ModelInfer"}, answer
    exit_status, point = measured(*QUICK)
    assert exit_status == 1
    assert point["errors"] == {status: 30}
    assert (point["sent"], point["answered"], point["latency"]["count"]) == (30, 0, 0)


def test_loop_is_cut_short_after_max_requests(measured, walks):
    status, point = measured("--closed", "3", "--duration", "60", "--warmup", "0", "--max-requests", "25")
    assert status == 0
    assert (point["closed"], point["rate"], point["sent"], point["cut_short"]) == (3, None, 25, True)
    assert len(walks.requests) == 25
    _, point = measured("--rate", "200", "--duration", "60", "--warmup", "0", "--max-requests", "20")
    assert (point["sent"], point["cut_short"]) == (20, True)


def test_load_uses_all_ready_models_unless_some_are_named(load, walks):
    walks.models["others"] = walk_model(labels=None)
    _, output, _ = load(*QUICK)
    assert {request.model_name for request in walks.requests} == {"walks", "others"}
    assert "  others" in output
    walks.requests.clear()
    load("others", *QUICK)
    assert {request.model_name for request in walks.requests} == {"others"}


def test_generators_share_a_load(measured, walks):
    status, point = measured(*QUICK, "--processes", "2", "--connections", "2")
    assert status == 0
    assert point["sent"] == 30
    assert len(point["generator_cpu"]) == 2
    assert len({request.SerializeToString() for request in walks.requests}) > 20


def test_load_writes_a_page_and_a_document(load, tmp_path, walks):
    walks.has_statistics = True
    files = ["--html", str(tmp_path / "r.html"), "--json", str(tmp_path / "r.json")]
    assert load("--rate", "50,100", "--duration", "0.2", "--warmup", "0", *files)[0] == 0
    assert (tmp_path / "r.html").read_text().count("<svg") == 6
    document = json.loads((tmp_path / "r.json").read_text())
    assert [point["rate"] for point in document["points"]] == [50, 100]
    assert sum(point["batches"]["1"] for point in document["points"]) == len(walks.requests)
    assert {"cores", "system", "python", "grpcio", "numpy"} <= set(document["machine"])


def test_load_reports_a_mistake_in_one_line(load):
    for words, said in (
        (["missing"], 'no model "missing"'),
        (["walks", "walks"], "a model is named twice: walks, walks"),
        (["--timeout", "1"], "no server responds at 127.0.0.1:1; start one with `make serve`"),
    ):
        status, output, errors = load(*words, *QUICK, **({"url": "127.0.0.1:1"} if "--timeout" in words else {}))
        assert (status, output) == (1, "")
        assert len(errors.splitlines()) == 1
        assert said in errors


def test_path_that_cannot_be_written_is_refused_before_anything_is_sent(load, walks, tmp_path):
    (tmp_path / "file").write_text("a file")
    for option, place in (("--json", "nowhere/r"), ("--json", ""), ("--html", "file/r")):
        status, output, errors = load(*QUICK, option, str(tmp_path / place))
        assert (status, output, errors.count("\n")) == (1, "", 1)
        assert errors.startswith(f"rnnserve load: {option}: cannot write {tmp_path / place}; ")
    assert walks.requests == []
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_invalid_command_lines_are_refused(capsys):
    for words in (
        "--rate 0",
        "walks=x",
        "--closed 0",
        "--rate 1 --closed 1",
        "--sessions 1 --closed 1",
        "--sessions 1 --think 5",
        "--slo p99",
        "--length 0",
        "--duration 0",
        "--arrivals gamma",
    ):
        with pytest.raises(SystemExit) as ended:
            main(["load", *words.split()])
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("rnnserve load: ")
        assert line.endswith("`rnnserve load --help`")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--scenario offline", "--scenario has been removed; use --closed 1 (single-stream)"),
        ("--gap-cv 3", "--gap-cv has been removed; arrivals are poisson or constant"),
        ("--sweep 100:500:100", "--sweep has been removed; list the rates"),
        ("--repeat a.json", "--repeat has been removed; run the command"),
        ("--compare a.json b.json", "--compare has been removed; measure both with --runs 5"),
    ],
)
def test_removed_option_names_its_replacement(capsys, words, said):
    with pytest.raises(SystemExit):
        main(["load", *words.split()])
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
