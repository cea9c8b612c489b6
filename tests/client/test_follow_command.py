"""`rnnserve infer --follow`: a point a line, each answered before the next one is read."""

import io
import json
import os
import sys
import threading
from typing import Any

import grpc
import numpy as np
import pytest

from kit.fakes import FakeModel, FakeModels, serving
from rnnserve.cli import main
from rnnserve.client import ModelMetadata, TensorMetadata, UnreadableInput
from rnnserve.client.reading.point_lines import PointLines

HEADING = "step  label  probability\n"


@pytest.fixture
def follow(url, capsys, monkeypatch):
    """Runs the command with a standard input; returns exit status, output and errors."""

    def run(*words, stdin="", address=url):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8"))
        status = main(["infer", "--follow", *words, "--url", address])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.mark.parametrize("stdin", ["1,0\n0,3\n1,1\n", "x,y\n1,0\n0,3\n1,1", "[1, 0]\n[0, 3]\n[1.0, 1]\n"])
def test_each_line_is_a_step(follow, service, stdin):
    """The fake's logits are (x, y, points of the request) of the running sum."""
    assert follow("sums", stdin=stdin) == (
        0,
        HEADING + "1     left   0.4223\n2     right  0.7870\n3     right  0.8438\n",
        "",
    )
    assert [request.inputs[0].shape for request in service.requests] == [[1, 1, 2]] * 3


def test_outputs_and_json_lines(follow):
    status, output, errors = follow("sums", "--outputs", "output,h_n", "--format", "json", stdin="1,0\n0,3\n")
    assert (status, errors) == (0, "")
    assert [json.loads(line) for line in output.splitlines()] == [
        {"line": 1, "step": 1, "outputs": {"output": [1, 0], "h_n": [[1, 0]]}},
        {"line": 2, "step": 2, "outputs": {"output": [1, 3], "h_n": [[1, 3]]}},
    ]
    _, output, _ = follow("sums", "--format", "json", stdin="1,0\n")
    assert json.loads(output).keys() == {"line", "step", "label", "index", "probability", "probabilities"}
    assert follow("sums", "--outputs", "output", stdin="1,0\n0,3\n")[1] == "step  output\n1     1 0\n2     1 3\n"


def test_a_blank_line_begins_a_new_sequence(follow):
    _, output, _ = follow("sums", "--outputs", "output", stdin="1,0\n0,3\n\n  \n5,5\n")
    assert output.splitlines()[1:] == ["1     1 0", "2     1 3", "1     5 5"]


def test_a_bad_line_is_told_and_left_out(follow):
    stdin = "x,y\n1,0\n1,two\n1,2,3\n0,3\n"
    assert follow("sums", "--outputs", "output", stdin=stdin) == (
        1,
        "step  output\n1     1 0\n2     1 3\n",
        "rnnserve infer: standard input, line 3, y: 'two' is not a number\n"
        "rnnserve infer: standard input, line 4: has 3 columns. Expected 2, as in line 1 (x, y)\n",
    )


def test_a_point_that_the_server_refuses_is_told_and_left_out(follow, service):
    service.failure, service.failing, service.fail_from = (
        (grpc.StatusCode.INVALID_ARGUMENT, "no such point"),
        {"ModelInfer"},
        0,
    )
    status, output, errors = follow("sums", stdin="1,0\n")
    assert (status, output) == (1, "")
    assert errors == "rnnserve infer: standard input, line 1: no such point\n"
    status, _, errors = follow("sums", "--outputs", "output", stdin="1,2,3\n")
    assert (status, errors.count("\n")) == (1, 1)
    assert "standard input, line 1: has 3 columns. Expected 2, one for each of the 2 features of input" in errors
    status, _, errors = follow("sums", "--outputs", "output", stdin="[1,2,3]\n")
    assert (status, errors.count("\n")) == (1, 1)
    assert "standard input, line 1: sequence 0 has shape (1, 3), but model sums takes (sequence, features=2)" in errors


def test_a_step_that_is_not_answered_ends_the_command_with_its_line(follow, service):
    service.failure, service.failing, service.fail_from = (
        (grpc.StatusCode.UNAVAILABLE, "is stopping"),
        {"ModelInfer"},
        0,
    )
    status, output, errors = follow("sums", "--timeout", "1", stdin="1,0\n0,1\n")
    assert (status, output) == (1, "")
    assert errors == "rnnserve infer: standard input, line 1 was not answered: is stopping\n"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["summs"], 'no model "summs"'),
        (["sums", "no/such.csv"], "no/such.csv: cannot be read (No such file or directory). Expected a file, or -"),
        (["sums", "--input-format", "npy"], "standard input: a file of the format npy has no lines"),
        (["sums", "--outputs", "sum"], "model sums has no output `sum`"),
    ],
)
def test_mistakes_are_one_line_and_a_failure(follow, words, complaint):
    status, output, errors = follow(*words, stdin="1,0\n")
    assert (status, output) == (1, "")
    assert errors.startswith(f"rnnserve infer: {complaint}")
    assert errors.count("\n") == 1


def test_models_without_sessions_are_refused(follow):
    model = FakeModel({"x": ("FP32", ("batch", ("n", 1)))}, {"y": ("FP32", ("batch", ("n", 1)))}, lambda sent: sent)
    with serving(FakeModels({"plain": model})) as address:  # type: ignore[abstract]
        status, output, errors = follow("plain", stdin="1\n", address=address)
    assert (status, output) == (1, "")
    assert errors.startswith("rnnserve infer: model plain has no states, so that it has no sessions")


def test_a_file_is_followed_to_its_end(follow, tmp_path):
    (tmp_path / "walk.csv").write_text("x,y\n1,0\n0,3\n")
    assert follow("sums", str(tmp_path / "walk.csv"), "--outputs", "output")[1].splitlines()[1:] == [
        "1     1 0",
        "2     1 3",
    ]


def test_answers_are_printed_before_the_next_line_is_read(url, monkeypatch):
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


def test_ctrl_c_ends_it_without_a_word(url, capsys, monkeypatch):
    class Interrupted(io.BytesIO):
        def readline(self, size=-1):
            line = super().readline(size)
            if not line:
                raise KeyboardInterrupt
            return line

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Interrupted(b"1,0\n")))
    assert main(["infer", "--follow", "sums", "--outputs", "output", "--url", url]) == 130
    assert capsys.readouterr() == ("step  output\n1     1 0\n", "")


TENSORS = {
    "points": TensorMetadata("input", "FP32", (-1, -1, 2), ("batch", "sequence", "features")),
    "time_first": TensorMetadata("input", "FP32", (-1, -1, 2), ("sequence", "batch", "features")),
    "tokens": TensorMetadata("tokens", "INT64", (-1, -1), ("batch", "sequence")),
    "step": TensorMetadata("observation", "FP32", (-1, 3), ("batch", "features")),
    "number": TensorMetadata("price", "FP32", (-1,), ("batch",)),
    "flags": TensorMetadata("flags", "BOOL", (-1, -1), ("batch", "sequence")),
    "frames": TensorMetadata("frames", "FP32", (-1, -1, 2, 1), ("batch", "sequence", "height", "width")),
}


def lines_of(*names, format_="auto"):
    inputs = {TENSORS[name].name: TENSORS[name] for name in names}
    return PointLines(ModelMetadata("m", ("1",), "", inputs, {}), "file", format_)


@pytest.mark.parametrize(
    ("name", "line", "point"),
    [
        ("points", "[0.5, -1]", [0.5, -1]),
        ("points", " 0.5 , -1 ", [0.5, -1]),
        ("time_first", "0.5,-1", [0.5, -1]),
        ("tokens", "7", 7),
        ("step", "1,2,3", [1, 2, 3]),
        ("step", "[1, 2, 3]", [1, 2, 3]),
        ("number", "1.5", 1.5),
        ("frames", "[[1], [2]]", [[1], [2]]),
        ("flags", '{"flags": true}', True),
    ],
)
def test_points_of_lines(name, line, point):
    read = lines_of(name).read(line.encode(), 1)
    assert read is not None
    assert {key: value.tolist() for key, value in read.items()} == {TENSORS[name].name: point}


def test_an_object_has_the_point_of_each_input():
    read = lines_of("points", "step").read(b'{"input": [1, 2], "observation": [3, 4, 5]}', 1)
    assert {name: value.tolist() for name, value in read.items()} == {"input": [1, 2], "observation": [3, 4, 5]}
    assert isinstance(read["input"], np.ndarray)


@pytest.mark.parametrize(
    ("names", "format_", "line", "complaint"),
    [
        (["points"], "auto", "[1, 2", "file, line 9, column 6: expected JSON, one point (Expecting"),
        (["points"], "auto", "[[1, 2]]", "file, line 9, number 0: holds a list. Expected a number"),
        (["points"], "auto", '["x", 2]', "file, line 9, number 0: holds the text 'x'"),
        (["points"], "auto", "[" * 100_000, "file, line 9"),
        (["points"], "json", "1,2", "file, line 9, column 2: expected JSON"),
        (["points"], "auto", '{"y": [1, 2]}', "file, line 9: holds 'y', but the inputs of model m are input"),
        (["points"], "csv", '1,"2', "file, line 9: expected comma-separated cells"),
        (["tokens"], "auto", "1,2", "file, line 9: has 2 columns. Expected 1, since tokens has one number per step"),
        (["frames"], "auto", "1,2", "file, line 9: a point of frames is more than a line of numbers. Use JSON"),
        (["points", "step"], "auto", "1,2", "file, line 9: holds the rows of one input"),
        (["points"], "npz", "", "file: a file of the format npz has no lines"),
    ],
)
def test_lines_that_are_no_points(names, format_, line, complaint):
    with pytest.raises(UnreadableInput) as refused:
        lines_of(*names, format_=format_).read(line.encode(), 9)
    assert str(refused.value).startswith(complaint)


def test_lines_that_are_no_text():
    with pytest.raises(UnreadableInput, match="file, line 1, byte 0: expected UTF-8 text"):
        lines_of("points").read(b"\xff\xfe1", 1)


def test_a_model_of_single_steps(follow):
    pair = ("FP32", ("batch", ("features", 2)))

    def added(tensors):
        memory = tensors["memory"] + tensors["observation"]
        return {"action": memory.sum(axis=1, keepdims=True), "next": memory}

    outputs = {"action": ("FP32", ("batch", ("actions", 1))), "next": (*pair, {"continues_as": "memory"})}
    service: Any = FakeModels({"adds": FakeModel({"observation": pair, "memory": pair}, outputs, added)})  # type: ignore[abstract]
    with serving(service) as address:
        said = follow("adds", "--outputs", "action", stdin="1,0\n0,3\n", address=address)
    assert said == (0, "step  action\n1     1\n2     4\n", "")
