import argparse
import io
import json
import os
import socket
import subprocess
import sys
import threading

import grpc
import numpy as np
import pytest

from kit.certificates import write_certificates
from kit.fakes import FakeModel, FakeModels, serving
from rnnserve.cli import main
from rnnserve.client.commands import infer
from rnnserve.protos.inference_pb2_grpc import GRPCInferenceServiceServicer

JSON = "[[[1, 0], [0, 3], [1, 1]], [[5, 2]]]"


@pytest.fixture
def ask(url, capsys, monkeypatch):
    """Runs `rnnserve infer` with a standard input; returns exit status, output and errors."""

    def run(*words, stdin="", address=url):
        data = stdin if isinstance(stdin, bytes) else stdin.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        status = main(["infer", *words, "--url", address])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_a_table_has_a_line_for_each_sequence(ask):
    assert ask("sums", stdin=JSON) == (
        0,
        "sequence  points  label  probability\n"
        "0              3  right       0.6652\n"
        "1              1  left        0.9362\n",
        "",
    )


def test_json_is_one_document(ask, service):
    status, output, errors = ask("sums", "-", "--format", "json", "--model-version", "3", stdin=JSON)
    document = json.loads(output)
    assert (status, errors) == (0, "")
    assert (document["model"], document["model_version"]) == ("sums", "3")
    first, second = document["sequences"]
    assert (first["sequence"], first["points"], first["label"], first["index"]) == ("0", 3, "right", 1)
    assert first["probability"] == pytest.approx(0.6652, abs=1e-4)
    assert sum(second["probabilities"]) == pytest.approx(1)
    assert service.requests[0].model_version == "3"
    assert [output.name for output in service.requests[0].outputs] == ["logits"]


@pytest.mark.parametrize("given", ["file", "stdin"])
@pytest.mark.parametrize("format_", ["auto", "named"])
@pytest.mark.parametrize("ending", ["json", "csv", "npy"])
def test_every_format_from_files_and_standard_input(ask, tmp_path, ending, format_, given):
    buffer = io.BytesIO()
    np.save(buffer, np.array([[[1, 0], [0, 3]], [[5, 2], [0, 0]]]))
    data = {
        "json": b"[[[1, 0], [0, 3]], [[5, 2], [0, 0]]]",
        "csv": b"x,y\n1,0\n0,3\n\n5,2\n0,0\n",
        "npy": buffer.getvalue(),
    }[ending]
    file = tmp_path / (f"walks.{ending}" if format_ == "auto" else "walks.txt")
    file.write_bytes(data)
    words = [] if format_ == "auto" else ["--input-format", ending]
    if given == "file":
        words.append(str(file))
    status, output, errors = ask("sums", *words, "--format=json", stdin=b"" if given == "file" else data)
    assert (status, errors) == (0, "")
    assert [answer["label"] for answer in json.loads(output)["sequences"]] == ["right", "left"]


@pytest.mark.parametrize(
    "words", [["sums", "FILE"], ["sums", "--timeout", "9", "FILE"], ["--timeout", "9", "sums", "FILE"]]
)
def test_the_file_may_stand_before_or_after_options(ask, tmp_path, words):
    (tmp_path / "walks.json").write_text(JSON)
    assert ask(*[str(tmp_path / "walks.json") if word == "FILE" else word for word in words])[0] == 0


@pytest.mark.parametrize(
    "words",
    [
        ["sums", "--nonsense"],
        ["sums", "one.json", "two.json"],
        [],
        ["sums", "--timeout", "0"],
        ["sums", "--timeout", "nan"],
    ],
)
def test_command_lines_that_say_something_else_are_refused(ask, words):
    with pytest.raises(SystemExit) as left:
        ask(*words)
    assert left.value.code == 2


def test_ids_of_a_csv_name_the_lines(ask):
    status, output, _ = ask("sums", stdin="sequence,x,y\nhome,1,0\nto the shop,5,2\nhome,0,3\n")
    assert status == 0
    assert [line.split("  ")[0] for line in output.splitlines()] == ["sequence", "home", "to the shop"]
    assert [line.split()[-3] for line in output.splitlines()] == ["points", "2", "1"]


@pytest.mark.parametrize(
    ("words", "stdin", "complaint"),
    [
        (["sums", "no/such/walks.csv"], "", "no/such/walks.csv: cannot be read (No such file or directory). Expected"),
        (["sums", "."], "", ".: cannot be read (Is a directory)"),
        (["sums"], "x,y\n1,2\n1,two\n", "standard input, line 3, y: 'two' is not a number"),
        (["sums"], "", "standard input: holds no sequences"),
        (["sums", "--input-format", "npy"], JSON, "standard input: is not a .npy file"),
        (
            ["sums"],
            "1,2,3",
            "standard input, line 1: has 3 columns. Expected 2, one for each of the 2 features of input",
        ),
        (["summs"], JSON, 'no model "summs"'),
    ],
)
def test_mistakes_are_one_line_and_a_failure(ask, words, stdin, complaint):
    status, output, errors = ask(*words, stdin=stdin)
    assert (status, output) == (1, "")
    assert errors.startswith(f"rnnserve infer: {complaint}")
    assert errors.count("\n") == 1


def test_an_argument_that_is_not_text_is_named(ask):
    assert ask("bad\udcff", stdin=JSON) == (
        1,
        "",
        "rnnserve infer: the argument 'bad\\udcff' is not text in the encoding of this system (see `locale`)\n",
    )


@pytest.mark.parametrize("address", ["http://127.0.0.1:8000", "0.0.0.0:8001", "nonsense"])
def test_addresses_that_cannot_work_are_explained(ask, address):
    status, _, errors = ask("sums", stdin=JSON, address=address)
    assert status == 1
    assert errors.startswith(f"rnnserve infer: url '{address}'")


def test_over_tls_with_a_client_certificate(ask, service, tmp_path):
    files = write_certificates(tmp_path)
    trust = ["--tls-ca", str(files.ca)]
    shown = ["--tls-certificate", str(files.client), "--tls-key", str(files.key(files.client))]
    with serving(service, files.server_credentials(files.server, mutual=True)) as address:
        assert ask("sums", *trust, *shown, stdin=JSON, address=f"grpcs://{address}")[0] == 0
        for scheme, words, lesson in (
            ("grpc", [], f"the server speaks TLS: use grpcs://{address}"),
            ("grpcs", trust, "the server asks for a client certificate: give tls_certificate and tls_key"),
        ):
            status, output, errors = ask("sums", *words, stdin=JSON, address=f"{scheme}://{address}")
            assert (status, output) == (1, "")
            assert errors.startswith(f"rnnserve infer: {scheme}://{address}: {lesson}")
            assert errors.count("\n") == 1


def test_grpc_logs_nothing_beside_the_line(tmp_path):
    """Of gRPC's own log only the process's standard error tells."""
    code = "import sys; from rnnserve.cli import main; sys.exit(main(sys.argv[1:]))"
    with serving(GRPCInferenceServiceServicer()) as address:  # type: ignore[abstract]
        done = subprocess.run(
            [sys.executable, "-c", code, "infer", "sums", "--url", f"grpcs://{address}"],
            input=JSON,
            capture_output=True,
            text=True,
            env={name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"},
        )
    assert done.stderr == (f"rnnserve infer: grpcs://{address}: the server does not speak TLS: use grpc://{address}\n")


def test_where_no_server_is_it_says_how_to_start_one(ask):
    with socket.socket() as bound:  # taken but not listening
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        status, output, errors = ask("sums", stdin=JSON, address=address)
    assert (status, output) == (1, "")
    assert errors.startswith(f"rnnserve infer: no server answers at {address}: start one with `make serve`")
    assert errors.count("\n") == 1


def test_where_the_server_is_slow_it_says_what_to_set(ask, service, url):
    service.blocked = threading.Event()
    status, _, errors = ask("sums", "--timeout", "0.05", stdin=JSON)
    assert status == 1
    assert errors.startswith(f"rnnserve infer: no answer from {url} in time: --timeout sets")


def test_where_a_server_is_but_not_the_model_the_server_says_why(ask, service):
    service.failure, service.failing = (grpc.StatusCode.UNAVAILABLE, "sums/3: golden results differ"), {"ModelInfer"}
    assert ask("sums", stdin=JSON) == (1, "", "rnnserve infer: sums/3: golden results differ\n")


def test_a_failing_request_among_several_says_which_sequences_it_held(ask, service):
    service.failure, service.fail_from = (grpc.StatusCode.INVALID_ARGUMENT, "input[0, 0, 0] is nan"), 1
    service.failing = {"ModelInfer"}
    status, _, errors = ask("sums", stdin=json.dumps([[[0, 0]]] * 300))
    assert status == 1
    assert errors == (
        "rnnserve infer: input[0, 0, 0] is nan; the failing request held sequences 256 to 299, as rows 0 to 43\n"
    )


def test_outputs_that_are_named_are_printed_instead_of_labels(ask):
    status, output, errors = ask("sums", "--outputs", "logits,output", stdin=JSON)
    assert (status, errors) == (0, "")
    assert output == (
        "sequence  points  logits  output\n0              3  2 4 3   1 0 1 3 2 4\n1              1  5 2 1   5 2\n"
    )
    status, output, _ = ask("sums", "--outputs", "h_n", "--format", "json", stdin=JSON)
    assert json.loads(output)["sequences"] == [
        {"sequence": "0", "points": 3, "outputs": {"h_n": [[2.0, 4.0]]}},
        {"sequence": "1", "points": 1, "outputs": {"h_n": [[5.0, 2.0]]}},
    ]
    assert ask("sums", "--outputs", "x", stdin=JSON)[2].startswith("rnnserve infer: model sums has no output `x`")


def test_any_model_is_asked_for_its_outputs(ask, tmp_path):
    step = FakeModel(
        {"a": ("INT64", ("batch", ("features", 2))), "b": ("FP32", ("batch",))},
        {"sum": ("FP32", ("batch",)), "wide": ("INT64", ("batch", ("width", 9)))},
        lambda tensors: {
            "sum": (tensors["a"].sum(axis=1) + tensors["b"]).astype("<f4"),
            "wide": np.arange(9 * len(tensors["b"])).reshape(-1, 9),
        },
    )
    np.savez(tmp_path / "rows.npz", a=[[1, 2], [3, 4]], b=[0.5, 0.25])
    with serving(FakeModels({"step": step})) as address:  # type: ignore[abstract]
        for words, stdin in (
            ([], '{"a": [[1, 2], [3, 4]], "b": [0.5, 0.25]}'),
            ([str(tmp_path / "rows.npz")], ""),
        ):
            assert ask("step", *words, stdin=stdin, address=address) == (
                0,
                "row  sum   wide\n0    3.5   9 int64\n1    7.25  9 int64\n",
                "",
            )
        status, output, _ = ask("step", "--format", "json", stdin='{"a": [[1, 2]], "b": [0.5]}', address=address)
        assert status == 0
        assert json.loads(output)["sequences"] == [{"sequence": "0", "outputs": {"sum": 3.5, "wide": [*range(9)]}}]
        assert ask("step", stdin="[[1, 2]]", address=address)[2].startswith(
            "rnnserve infer: standard input: holds the rows of one input, but model step takes a, b"
        )


def test_help_shows_every_format_and_its_examples_work(ask, capsys):
    with pytest.raises(SystemExit):
        main(["infer", "--help"])
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in ("json", "csv", "npy", "npz"))
    examples = shown.partition("input formats")[2]
    json_line = next(line for line in examples.splitlines() if line.strip().startswith("[[["))
    assert ask("sums", stdin=json_line)[0] == 0
    parser = argparse.ArgumentParser()
    infer.add_arguments(parser)
    assert parser.parse_args(["direction_simple"]).url == "127.0.0.1:8001"
