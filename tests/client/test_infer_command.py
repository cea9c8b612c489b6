import io
import json
import socket
import threading

import grpc
import numpy as np
import pytest

from kit.certificates import write_certificates
from kit.fakes import FakeModel, FakeModels, serving

JSON = "[[[1, 0], [0, 3], [1, 1]], [[5, 2]]]"


def test_infer_prints_a_line_for_each_sequence(infer):
    assert infer("sums", stdin=JSON) == (
        0,
        "sequence  points  label  probability\n"
        "0              3  right       0.6652\n"
        "1              1  left        0.9362\n",
        "",
    )


def test_infer_prints_json_as_one_document(infer, service):
    status, output, errors = infer("sums", "-", "--format", "json", "--model-version", "3", stdin=JSON)
    document = json.loads(output)
    assert (status, errors) == (0, "")
    assert (document["model"], document["model_version"]) == ("sums", "3")
    first, second = document["sequences"]
    assert (first["sequence"], first["points"], first["label"], first["index"]) == ("0", 3, "right", 1)
    assert first["probability"] == pytest.approx(0.6652, abs=1e-4)
    assert sum(second["probabilities"]) == pytest.approx(1)
    assert service.requests[0].model_version == "3"
    assert [output.name for output in service.requests[0].outputs] == ["logits", "h_n"]


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("ending", "data"),
    [
        ("json", b"[[[1, 0], [0, 3]], [[5, 2], [0, 0]]]"),
        ("csv", b"x,y\n1,0\n0,3\n\n5,2\n0,0\n"),
        ("npy", npy(np.array([[[1, 0], [0, 3]], [[5, 2], [0, 0]]]))),
    ],
)
def test_infer_reads_every_format_from_a_file_and_standard_input(infer, tmp_path, ending, data):
    (tmp_path / f"walks.{ending}").write_bytes(data)
    (tmp_path / "walks.txt").write_bytes(data)
    named = ["--input-format", ending]
    for words, stdin in (
        ([str(tmp_path / f"walks.{ending}")], b""),
        ([*named, str(tmp_path / "walks.txt")], b""),
        ([], data),
        (named, data),
    ):
        status, output, errors = infer("sums", "--format=json", *words, stdin=stdin)
        assert (status, errors) == (0, "")
        assert [answer["label"] for answer in json.loads(output)["sequences"]] == ["right", "left"]


@pytest.mark.parametrize(
    ("words", "stdin", "complaint"),
    [
        (["sums", "no/such/walks.csv"], "", "cannot read no/such/walks.csv (No such file or directory)"),
        (["sums"], "x,y\n1,2\n1,two\n", "standard input, line 3, y: 'two' is not a number"),
        (["sums"], "", "standard input contains no sequences"),
        (["sums", "--input-format", "npy"], JSON, "standard input is not a .npy file"),
        (["sums"], "1,2,3", "standard input, line 1 has 3 columns; expected 2, one for each of the 2 features of inp"),
        (["summs"], JSON, 'no model "summs"'),
        (["sums", "--outputs", "x"], JSON, 'model sums has no output "x"'),
        (["bad\udcff"], JSON, "the argument 'bad\\udcff' is not text in the encoding of this system"),
    ],
)
def test_infer_reports_a_mistake_in_one_line(infer, words, stdin, complaint):
    status, output, errors = infer(*words, stdin=stdin)
    assert (status, output) == (1, "")
    assert errors.startswith(f"rnnserve infer: {complaint}")
    assert errors.count("\n") == 1


def test_infer_over_tls_shows_a_client_certificate(infer, service, tmp_path):
    files = write_certificates(tmp_path)
    trust = ["--tls-ca", str(files.ca)]
    shown = ["--tls-certificate", str(files.client), "--tls-key", str(files.key(files.client))]
    with serving(service, files.server_credentials(files.server, mutual=True)) as address:
        assert infer("sums", *trust, *shown, stdin=JSON, address=f"grpcs://{address}")[0] == 0
        status, output, errors = infer("sums", stdin=JSON, address=address)
    assert (status, output) == (1, "")
    assert errors.startswith(f"rnnserve infer: grpc://{address}: the server uses TLS; connect to grpcs://{address}")
    assert errors.count("\n") == 1


def test_infer_prints_a_remedy_when_no_server_responds(infer, service, url):
    with socket.socket() as bound:  # taken but not listening
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        _, output, errors = infer("sums", "--timeout", "1", stdin=JSON, address=address)
    assert output == ""
    assert errors.startswith(f"rnnserve infer: no server responds at {address}; start one with `make serve`")
    service.blocked = threading.Event()
    status, _, errors = infer("sums", "--timeout", "0.05", stdin=JSON)
    assert status == 1
    assert errors.startswith(f"rnnserve infer: {url} did not respond in time; raise the limit with --timeout")


def test_infer_prints_the_named_outputs(infer):
    status, output, errors = infer("sums", "--outputs", "logits,output", stdin=JSON)
    assert (status, errors) == (0, "")
    assert output == (
        "sequence  points  logits  output\n0              3  2 4 3   1 0 1 3 2 4\n1              1  5 2 1   5 2\n"
    )
    status, output, _ = infer("sums", "--outputs", "h_n", "--format", "json", stdin=JSON)
    assert json.loads(output)["sequences"] == [
        {"sequence": "0", "points": 3, "outputs": {"h_n": [[2.0, 4.0]]}},
        {"sequence": "1", "points": 1, "outputs": {"h_n": [[5.0, 2.0]]}},
    ]


def test_infer_prints_all_outputs_of_a_model_without_classes(infer, tmp_path):
    step = FakeModel(
        {"a": ("INT64", ("batch", ("features", 2))), "b": ("FP32", ("batch",))},
        {"sum": ("FP32", ("batch",)), "wide": ("INT64", ("batch", ("width", 9)))},
        lambda tensors: {
            "sum": (tensors["a"].sum(axis=1) + tensors["b"]).astype("<f4"),
            "wide": np.arange(9 * len(tensors["b"])).reshape(-1, 9),
        },
    )
    np.savez(tmp_path / "rows.npz", a=[[1, 2], [3, 4]], b=[0.5, 0.25])
    table = (0, "row  sum   wide\n0    3.5   9 int64\n1    7.25  9 int64\n", "")
    with serving(FakeModels({"step": step})) as address:
        assert infer("step", stdin='{"a": [[1, 2], [3, 4]], "b": [0.5, 0.25]}', address=address) == table
        assert infer("step", str(tmp_path / "rows.npz"), address=address) == table
        status, output, _ = infer("step", "--format", "json", stdin='{"a": [[1, 2]], "b": [0.5]}', address=address)
        assert status == 0
        assert json.loads(output)["sequences"] == [{"sequence": "0", "outputs": {"sum": 3.5, "wide": [*range(9)]}}]
        _, _, errors = infer("step", stdin="[[1, 2]]", address=address)
        assert 'model step takes "a", "b"; pass the rows of each input by its name' in errors


def test_infer_prints_the_server_s_reason_and_which_sequences_failed(infer, service):
    service.failure, service.failing = (grpc.StatusCode.INVALID_ARGUMENT, "input[0, 0, 0] is nan"), {"ModelInfer"}
    assert infer("sums", stdin=JSON) == (1, "", "rnnserve infer: input[0, 0, 0] is nan\n")
    service.fail_from = 2
    status, _, errors = infer("sums", stdin=json.dumps([[[0, 0]]] * 300))
    assert (status, errors) == (
        1,
        "rnnserve infer: input[0, 0, 0] is nan; the failing request contained sequences 256 to 299, sent as rows 0 to "
        "43\n",
    )
