"""`rnnserve infer --follow`: mistakes, files, Ctrl-C, and models without a sequence axis."""

import io
import sys

import grpc

from kit.fakes import serving
from kit.session_models import MODELS, FailingModels
from rnnserve.cli import main


def test_follow_ends_at_an_unanswered_step(infer, service):
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


def test_follow_accepts_models_of_single_steps_but_not_stateless_models(infer):
    with serving(FailingModels(MODELS)) as address:
        assert infer("--follow", "policy", "--outputs", "action", stdin="1,0\n0,3\n", address=address) == (
            0,
            "step  action\n1     1\n2     4\n",
            "",
        )
        status, output, errors = infer("--follow", "stateless", stdin="1,2\n", address=address)
    assert (status, output) == (1, "")
    assert errors.startswith("rnnserve infer: model stateless has no states, so it has no sessions")


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
