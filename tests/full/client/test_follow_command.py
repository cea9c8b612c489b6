"""`rnnserve infer --follow`: mistakes, files, Ctrl-C, and models without a sequence axis."""

import io
import sys

import grpc

from kit.fakes import serving
from kit.session_models import MODELS, FailingModels
from rnnserve.cli import main


def test_follow_reports_a_point_that_the_server_refuses(infer, service):
    service.failure, service.failing = (grpc.StatusCode.INVALID_ARGUMENT, "no such point"), {"ModelInfer"}
    assert infer("--follow", "sums", stdin="1,0\n") == (
        1,
        "",
        "rnnserve infer: standard input, line 1: no such point\n",
    )


def test_follow_ends_at_a_step_that_is_not_answered(infer, service):
    service.failure, service.failing = (grpc.StatusCode.UNAVAILABLE, "is stopping"), {"ModelInfer"}
    status, output, errors = infer("--follow", "sums", "--timeout", "0.3", stdin="1,0\n0,1\n")
    assert (status, output) == (1, "")
    assert errors == "rnnserve infer: standard input, line 1 got no result: is stopping\n"


def test_follow_reports_mistakes_in_one_line(infer):
    for words, complaint in (
        (["summs"], 'no model "summs"'),
        (["sums", "no/such.csv"], "cannot read no/such.csv (No such file or directory)"),
    ):
        status, output, errors = infer("--follow", *words, stdin="1,0\n")
        assert (status, output) == (1, "")
        assert errors.startswith(f"rnnserve infer: {complaint}")
        assert errors.count("\n") == 1


def test_follow_takes_models_of_single_steps_but_not_stateless_ones(infer):
    with serving(FailingModels(MODELS)) as address:
        assert infer("--follow", "policy", "--outputs", "action", stdin="1,0\n0,3\n", address=address) == (
            0,
            "step  action\n1     1\n2     4\n",
            "",
        )
        status, output, errors = infer("--follow", "stateless", stdin="1,2\n", address=address)
    assert (status, output) == (1, "")
    assert errors.startswith("rnnserve infer: model stateless has no states, so it has no sessions")


def test_first_line_with_the_wrong_number_of_columns_is_left_out(infer):
    status, output, errors = infer("--follow", "sums", "--outputs", "output", stdin="x,y,z\n1,2,3\n1,0\n")
    assert (status, output.splitlines()[1:]) == (1, ["1     1 0"])
    assert [line.partition(";")[0] for line in errors.splitlines()] == [
        "rnnserve infer: standard input, line 1 has 3 columns (x, y, z)",
        "rnnserve infer: standard input, line 2 has 3 columns",
    ]


def test_follow_takes_token_ids_as_csv(infer):
    with serving(FailingModels(MODELS)) as address:
        status, output, errors = infer(
            "--follow", "tokens", "--outputs", "doubled", stdin="5\n6\n[7, 8]\n", address=address
        )
    assert (status, errors) == (0, "")
    assert output.splitlines()[1:] == ["1     10", "2     12", "4     14 16"]


def test_follow_reads_a_file_to_its_end(infer, tmp_path):
    (tmp_path / "walk.csv").write_text("x,y\n1,0\n0,3\n")
    _, output, _ = infer("--follow", "sums", str(tmp_path / "walk.csv"), "--outputs", "output")
    assert output.splitlines()[1:] == ["1     1 0", "2     1 3"]


def test_ctrl_c_ends_follow_without_a_message(url, capsys, monkeypatch):
    class Interrupted(io.BytesIO):
        def readline(self, size=-1):
            line = super().readline(size)
            if not line:
                raise KeyboardInterrupt
            return line

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Interrupted(b"1,0\n")))
    assert main(["infer", "--follow", "sums", "--outputs", "output", "--url", url]) == 130
    assert capsys.readouterr() == ("step  output\n1     1 0\n", "")
