"""`rnnserve infer --follow`: a point a line, each answered before the next line is read."""

import io
import json
import os
import sys
import threading

import pytest

from rnnserve.cli import main

HEADING = "step  label  probability\n"


@pytest.mark.parametrize("stdin", ["1,0\n0,3\n1,1\n", "x,y\n1,0\n0,3\n1,1", "[1, 0]\n[0, 3]\n[1.0, 1]\n"])
def test_follow_prints_the_label_after_each_line(infer, service, stdin):
    """The fake's logits are (x, y, points of the request) of the running sum."""
    assert infer("--follow", "sums", stdin=stdin) == (
        0,
        HEADING + "1     left   0.4223\n2     right  0.7870\n3     right  0.8438\n",
        "",
    )
    assert [request.inputs[0].shape for request in service.requests] == [[1, 1, 2]] * 3


def test_follow_prints_named_outputs_and_json(infer):
    follow = ("--follow", "sums", "--outputs")
    assert infer(*follow, "output", stdin="1,0\n0,3\n")[1] == "step  output\n1     1 0\n2     1 3\n"
    status, output, errors = infer(*follow, "output,h_n", "--format", "json", stdin="1,0\n0,3\n")
    assert (status, errors) == (0, "")
    assert [json.loads(line) for line in output.splitlines()] == [
        {"line": 1, "step": 1, "outputs": {"output": [1, 0], "h_n": [[1, 0]]}},
        {"line": 2, "step": 2, "outputs": {"output": [1, 3], "h_n": [[1, 3]]}},
    ]
    _, output, _ = infer("--follow", "sums", "--format", "json", stdin="1,0\n")
    assert json.loads(output).keys() == {"line", "step", "label", "index", "probability", "probabilities"}


def test_follow_begins_a_new_sequence_at_a_blank_line(infer):
    _, output, _ = infer("--follow", "sums", "--outputs", "output", stdin="1,0\n0,3\n\n  \n5,5\n")
    assert output.splitlines()[1:] == ["1     1 0", "2     1 3", "1     5 5"]


def test_follow_reports_and_skips_a_bad_line(infer):
    stdin = "x,y\n1,0\n1,two\n1,2,3\n0,3\n"
    status, output, errors = infer("--follow", "sums", "--outputs", "output", stdin=stdin)
    assert (status, output) == (1, "step  output\n1     1 0\n2     1 3\n")
    first, second = errors.splitlines()
    assert first == "rnnserve infer: standard input, line 3, y: 'two' is not a number"
    assert second.startswith("rnnserve infer: standard input, line 4 has 3 columns; expected 2")


def test_follow_prints_before_it_reads_the_next_line(url, monkeypatch):
    (there, to_command), (from_command, back) = os.pipe(), os.pipe()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(os.fdopen(there, "rb")))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(os.fdopen(back, "wb")))  # as a pipe: kept until it is flushed
    status = []
    command = ["infer", "--follow", "sums", "--outputs", "output", "--url", url]
    thread = threading.Thread(target=lambda: status.append(main(command)))
    thread.start()
    with os.fdopen(to_command, "wb", buffering=0) as points, os.fdopen(from_command) as answers:
        points.write(b"1,0\n")
        assert [answers.readline(), answers.readline()] == ["step  output\n", "1     1 0\n"]
        points.write(b"0,3\n")
        assert answers.readline() == "2     1 3\n"
        points.close()
        thread.join(10)
        assert status == [0]
        sys.stdout.close()
        assert answers.read() == ""
        sys.stdin.close()
