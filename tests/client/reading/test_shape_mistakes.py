"""Each mistake in shape, in each format: the sentence that teaches, and "transpose" only where that may be right."""

import io
import json

import numpy as np
import pytest

from rnnserve.client.errors import InvalidRequest
from rnnserve.client.metadata import ModelMetadata, TensorMetadata
from rnnserve.client.reading import read_rows
from rnnserve.client.reading.point_lines import PointLines
from rnnserve.client.row_inputs import check_rows

FORMATS = ("csv", "csv with a header", "csv with ids", "json", "npy", "npz")
NAMES = ("time", "pressure", "flow", "x", "y", "z")


def model(*axes, limits=None):
    """A model with one input; an axis is a name, or a name and a size."""
    named = [axis if isinstance(axis, tuple) else (axis, -1) for axis in ("batch", *axes)]
    names, sizes = zip(*named, strict=True)
    tensor = TensorMetadata("input", "FP32", sizes, names, limits=limits or {})
    return ModelMetadata("m", ("1",), "onnx", {"input": tensor}, {})


POINTS = model("sequence", ("features", 2))
WIDE = model("sequence", ("features", 5))
FEATURES_FIRST = model(("features", 2), "sequence")
STEP = model(("features", 2))
TOKENS = model("sequence")
LIMITED = model("sequence", ("features", 2), limits={"sequence": (5, 64)})


def written(format_, rows):
    """Rows of equal shape (steps, columns) as the content of a file."""
    rows = [np.array(row, np.float64) for row in rows]
    if format_.startswith("csv"):
        columns = rows[0].shape[-1]
        ids = format_ == "csv with ids"
        blocks = []
        for index, row in enumerate(rows):
            lines = [",".join([*([f"s{index}"] if ids else []), *(f"{value:g}" for value in point)]) for point in row]
            blocks.append("\n".join(lines))
        names = [*(["sequence"] if ids else []), *NAMES[:columns]]
        head = "" if format_ == "csv" else ",".join(names) + "\n"
        return (head + ("\n" if ids else "\n\n").join(blocks) + "\n").encode()
    if format_ == "json":
        return json.dumps([row.tolist() for row in rows]).encode()
    buffer = io.BytesIO()
    if format_ == "npy":
        np.save(buffer, np.stack(rows))
    else:
        np.savez(buffer, input=np.stack(rows))
    return buffer.getvalue()


def ask(metadata, format_, rows):
    read = read_rows(written(format_, rows), "file", metadata, format_.split()[0])
    return check_rows(metadata, read.inputs)


def refusal(metadata, format_, rows):
    with pytest.raises(InvalidRequest) as refused:
        ask(metadata, format_, rows)
    return str(refused.value)


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("columns", [1, 3, 4, 6])
@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("metadata", [POINTS, WIDE, LIMITED], ids=["points", "wide", "limited"])
def test_points_of_a_wrong_width(metadata, format_, columns, steps):
    tensor = metadata.inputs["input"]
    taken = tensor.shape[-1]
    said = refusal(metadata, format_, [np.ones((steps, columns))])
    if format_.startswith("csv"):
        count = "1 column" if columns == 1 else f"{columns} columns"
        named = "" if format_ == "csv" else f" ({', '.join(NAMES[:columns])})"
        assert said == (
            f"file, line 1: has {count}{named}. Expected {taken}, one for each of the {taken} features of input, in "
            "the model's order"
        )
        return
    assert said.startswith(f"sequence 0 has shape ({steps}, {columns}), but model m takes (sequence, features={taken})")
    assert f"the model takes {taken} features, not {columns}" in said
    low, high = tensor.limits.get("sequence", (1, 1000))
    assert ("transpose" in said) == (steps == taken and low <= columns <= high)


@pytest.mark.parametrize("format_", FORMATS)
def test_a_table_is_never_transposed(format_):
    """Three columns and two lines: turned round it would fit, and be answered with nonsense."""
    said = refusal(POINTS, format_, [np.ones((2, 3))])
    assert "features" in said
    assert ("transpose" in said) == (not format_.startswith("csv"))


@pytest.mark.parametrize("format_", ["json", "npy", "npz"])
def test_reversed_axes_are_named_where_every_row_has_them(format_):
    said = refusal(POINTS, format_, [np.ones((2, 40)), np.ones((2, 40))])
    assert "If its axes are in reverse order, (features, sequence), transpose it; else the model takes 2" in said


def test_rows_of_which_one_does_not_fit_either_way_are_not_reversed():
    rows = [np.ones((2, 3)).tolist(), np.ones((5, 3)).tolist()]
    with pytest.raises(InvalidRequest, match="the model takes 2 features, not 3") as refused:
        check_rows(POINTS, read_rows(json.dumps(rows).encode(), "file", POINTS, "json").inputs)
    assert "transpose" not in str(refused.value)


@pytest.mark.parametrize("format_", ["csv", "csv with a header", "csv with ids"])
def test_columns_are_features_wherever_the_model_has_them(format_):
    """A line is a point, also for a model that takes (features, sequence): nothing is turned the wrong way."""
    rows = [[[1, 2], [3, 4], [5, 6]]]
    (row,) = ask(FEATURES_FIRST, format_, rows).tensors["input"]
    assert row.tolist() == [[1, 3, 5], [2, 4, 6]]
    assert "has 3 columns" in refusal(FEATURES_FIRST, format_, [np.ones((2, 3))])


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("format_", ["csv", "csv with a header"])
def test_rows_of_single_steps(format_, columns):
    said = refusal(STEP, format_, [np.ones((4, columns))])
    assert "Expected 2, one for each of the 2 features of input" in said


@pytest.mark.parametrize("format_", ["csv", "csv with a header"])
def test_one_number_a_step(format_):
    assert "Expected 1, since input has one number per step" in refusal(TOKENS, format_, [np.ones((4, 2))])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x,y\n1,2\n1,2,3\n", "file, line 3: has 3 columns. Expected 2, as in line 1 (x, y)"),
        ("1,2\n1\n", "file, line 2: has 1 columns. Expected 2, as in line 1 (column 1, column 2)"),
        ("x,y,z\n1,2\n", "file, line 2: has 2 columns. Expected 3, as in line 1 (x, y, z)"),
        ("id,x,y\na,1,2\n", "file, line 2, id: 'a' is not a number"),
        ("x;y\n1;2\n", "file, line 2, x;y: '1;2' is not a number (columns are separated by commas)"),
        ("x,y\n", "file: holds a header (x, y) and no line of numbers"),
    ],
)
def test_tables_of_mixed_widths_and_wrong_headers(text, sentence):
    with pytest.raises(InvalidRequest) as refused:
        read_rows(text.encode(), "file", POINTS, "csv")
    assert str(refused.value) == sentence


@pytest.mark.parametrize("line", ["1,2,3", "1", "x,y,z"])
def test_lines_of_a_wrong_width_are_told_and_the_next_one_is_read(line):
    lines = PointLines(POINTS, "file")
    for number in (1, 2):
        with pytest.raises(InvalidRequest, match=f"file, line {number}: has .* Expected 2, one for each of the 2"):
            lines.read(line.encode(), number)
    assert lines.read(b"1,2", 3)["input"].tolist() == [1, 2]
