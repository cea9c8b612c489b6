"""`rnnserve load` as it is used: processes, connections, a server; few requests and no limits on time."""

import json

import grpc
import pytest

from kit.certificates import write_certificates
from kit.failing_writes import FailingWrites, everything
from kit.fakes import serving
from rnnserve.cli import main
from rnnserve.protos import inference_pb2 as pb

QUICK = ["--rate", "100", "--duration", "0.3", "--warmup", "0.1"]


def test_every_answer_is_counted_and_checked(load, walks):
    status, output, errors = load(*QUICK, "--arrivals", "constant", "--batch", "2", "--length", "2:9")
    assert status == 0
    assert len(walks.requests) == 40
    head, line, _, *said = output.splitlines()
    assert head.startswith("requests/s  answers/s")
    assert line.startswith("100  ")
    assert "labels: all 60 are as expected" in said
    assert errors.startswith("[1/1] 100 requests/s: 30 answers")


def test_wrong_labels_are_counted_and_fail(measured, walks):
    walks.inverted = True
    status, point = measured(*QUICK, "--arrivals", "constant")
    assert status == 1
    assert point["labels"] == {"checked": 30, "wrong": 30}
    assert point["answered"] == 30


def test_labels_need_not_be_checked(measured, walks):
    walks.inverted = True
    status, point = measured(*QUICK, "--no-check")
    assert status == 0
    assert point["labels"] == {"checked": 0, "wrong": 0}


def test_typed_contents_are_read_too(measured, walks):
    walks.typed = True
    status, point = measured(*QUICK, "--arrivals", "constant")
    assert (status, point["labels"]) == (0, {"checked": 30, "wrong": 0})


@pytest.mark.parametrize(
    ("failure", "answer", "status"),
    [
        ((grpc.StatusCode.RESOURCE_EXHAUSTED, "full"), None, "RESOURCE_EXHAUSTED"),
        (None, pb.ModelInferResponse(), "INVALID_ANSWER"),
    ],
)
def test_errors_are_counted_by_status_and_fail(measured, walks, failure, answer, status):
    walks.failure, walks.answer = failure, answer
    exit_status, point = measured(*QUICK, "--arrivals", "constant")
    assert exit_status == 1
    assert point["errors"] == {status: 30}
    assert (point["sent"], point["answered"], point["latency"]["count"]) == (30, 0, 0)


def test_a_closed_loop_sends_what_it_may(measured, walks):
    status, point = measured("--closed", "3", "--duration", "60", "--warmup", "0", "--max-requests", "25")
    assert status == 0
    assert (point["closed"], point["rate"], point["sent"], point["cut_short"]) == (3, None, 25, True)
    assert len(walks.requests) == 25


def test_an_open_loop_is_cut_short_too(measured):
    _, point = measured("--rate", "200", "--duration", "60", "--warmup", "0", "--max-requests", "20")
    assert (point["sent"], point["cut_short"]) == (20, True)


def test_all_models_that_are_ready_are_asked_unless_some_are_named(load, walks):
    walks.ready = ("walks", "others")
    _, output, _ = load(*QUICK)
    assert {request.model_name for request in walks.requests} == {"walks", "others"}
    assert "  others" in output
    walks.requests.clear()
    load("others", *QUICK)
    assert {request.model_name for request in walks.requests} == {"others"}


def test_batch_sizes_are_told_where_the_server_tells(measured, walks):
    assert "batches" not in measured(*QUICK)[1]
    walks.requests.clear()
    walks.statistics = True
    _, point = measured(*QUICK, "--arrivals", "constant")
    assert point["batches"] == {"1": 40}


def test_a_report_is_written(load, tmp_path, walks):
    walks.statistics = True
    status, _, _ = load(
        "--sweep",
        "50:100:50",
        "--duration",
        "0.2",
        "--html",
        str(tmp_path / "r.html"),
        "--json",
        str(tmp_path / "r.json"),
    )
    assert status == 0
    assert (tmp_path / "r.html").read_text().count("<svg") == 6
    assert [point["rate"] for point in json.loads((tmp_path / "r.json").read_text())["points"]] == [50, 100]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing"], 'no model "missing"'),
        (["walks", "walks"], "walks comes twice"),
        (["walks=x"], "expected NAME or NAME=WEIGHT"),
    ],
)
def test_mistakes_are_one_line(load, words, said):
    status, output, errors = load(*words, *QUICK)
    assert (status, output) == (1, "")
    assert len(errors.splitlines()) == 1
    assert said in errors


@pytest.mark.parametrize("option", ["--json", "--html"])
@pytest.mark.parametrize("place", ["nowhere/r", "", "file/r"])
def test_a_path_that_cannot_be_written_is_told_before_anything_is_sent(load, walks, tmp_path, option, place):
    (tmp_path / "file").write_text("a file")
    status, output, errors = load(*QUICK, option, str(tmp_path / place))
    assert (status, output, errors.count("\n")) == (1, "", 1)
    assert errors.startswith(f"rnnserve load: {option}: {tmp_path / place}: cannot be written (")
    assert walks.requests == []
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_results_that_cannot_be_written_later_are_printed_and_the_older_file_stays(load, tmp_path, monkeypatch):
    (tmp_path / "r.json").write_text("older")
    FailingWrites(monkeypatch, 1)  # after the check
    status, output, errors = load(*QUICK, "--json", str(tmp_path / "r.json"))
    assert status == 1
    assert output  # the table, which would otherwise be lost
    assert errors.splitlines()[-1] == (
        f"rnnserve load: {tmp_path / 'r.json'}: cannot be written (No space left on device); nothing of it was left "
        "behind, and the older file is as it was"
    )
    assert everything(tmp_path) == {"r.json": b"older"}


def test_no_server_at_the_address(load):
    status, _, errors = load(*QUICK, "--timeout", "1", url="127.0.0.1:1")
    assert status == 1
    assert errors.startswith("rnnserve load: no server answers at 127.0.0.1:1: start one with `make serve`")


def test_over_tls_with_a_client_certificate(load, walks, tmp_path):
    files = write_certificates(tmp_path)
    trust = ["--tls-ca", str(files.ca)]
    shown = ["--tls-certificate", str(files.client), "--tls-key", str(files.key(files.client))]
    with serving(walks, files.server_credentials(files.server, mutual=True)) as address:
        status, output, _ = load(*QUICK, "--arrivals", "constant", *trust, *shown, url=f"grpcs://{address}")
        assert status == 0
        assert "labels: all 30 are as expected" in output
        walks.requests.clear()
        for scheme, words, lesson in (
            ("grpc", [], f"the server speaks TLS: use grpcs://{address}"),
            ("grpcs", trust, "the server asks for a client certificate: give tls_certificate and tls_key"),
        ):
            status, output, errors = load(*QUICK, *words, url=f"{scheme}://{address}")
            assert (status, output) == (1, "")
            assert errors.startswith(f"rnnserve load: {scheme}://{address}: {lesson}")
            assert errors.count("\n") == 1
    assert walks.requests == []


@pytest.mark.parametrize(
    "words",
    [
        ["--rate", "0"],
        ["--sweep", "1:2"],
        ["--closed", "0"],
        ["--rate", "1", "--closed", "1"],
        ["--sessions", "1", "--closed", "1"],
        ["--sessions", "0"],
        ["--sessions", "1", "--think", "5"],
        ["--sessions", "1", "--steps", "0"],
        ["--slo", "p99"],
        ["--length", "0"],
        ["--duration", "0"],
        ["--arrivals", "sometimes"],
    ],
)
def test_a_wrong_command_line(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["load", *words])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("rnnserve load: ")
    assert line.endswith("`rnnserve load --help`")
