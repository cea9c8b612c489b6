"""Lines of which each is a point, or a point of each input."""

import pytest

from rnnserve.client import ModelMetadata, TensorMetadata, UnreadableInput
from rnnserve.client.reading.point_lines import PointLines

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
        ("frames", "[[1], [2]]", [[1], [2]]),
        ("flags", '{"flags": true}', True),
    ],
)
def test_line_is_a_point(name, line, point):
    read = lines_of(name).read(line.encode(), 1)
    assert {key: value.tolist() for key, value in read.items()} == {TENSORS[name].name: point}
    read = lines_of("points", "step").read(b'{"input": [1, 2], "observation": [3, 4, 5]}', 1)
    assert {key: value.tolist() for key, value in read.items()} == {"input": [1, 2], "observation": [3, 4, 5]}


@pytest.mark.parametrize(
    ("names", "format_", "line", "complaint"),
    [
        ("points", "auto", "[1, 2", "line 9, column 6: expected JSON, one point (Expecting"),
        ("points", "auto", "[[1, 2]]", "line 9, number 0: holds a list. Expected a number"),
        ("points", "auto", "[" * 100_000, "line 9"),
        ("points", "auto", '{"y": [1, 2]}', "line 9: holds 'y', but the inputs of model m are input"),
        ("points", "csv", '1,"2', "line 9: expected comma-separated cells"),
        ("points", "auto", b"\xff\xfe1", "line 9, byte 0: expected UTF-8 text"),
        ("points", "auto", "1,2,3", "line 9: has 3 columns. Expected 2, one for each of the 2"),
        ("tokens", "auto", "1,2", "line 9: has 2 columns. Expected 1, since tokens has one number per step"),
        ("frames", "auto", "1,2", "line 9: a point of frames is more than a line of numbers. Use JSON"),
        ("points step", "auto", "1,2", "line 9: holds the rows of one input"),
    ],
)
def test_other_line_is_refused(names, format_, line, complaint):
    with pytest.raises(UnreadableInput) as refused:
        lines_of(*names.split(), format_=format_).read(line.encode() if isinstance(line, str) else line, 9)
    assert str(refused.value).startswith(f"file, {complaint}")


def test_formats_without_lines_are_refused():
    with pytest.raises(UnreadableInput, match="a file of the format npz has no lines"):
        lines_of("points", format_="npz")
