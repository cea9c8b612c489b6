"""Each mistake in shape, in each format: a sentence that teaches, and "transpose" only if that may be right."""

import io
import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rnnserve.client.errors import InvalidRequest
from rnnserve.client.metadata import ModelMetadata, TensorMetadata
from rnnserve.client.reading import read_rows
from rnnserve.client.row_inputs import check_rows

CSV = ("csv", "csv with a header")
FORMATS = (*CSV, "json", "npy", "npz")
NAMES = ("time", "pressure", "flow", "x", "y", "z", "p", "q", "r", "s")


def model(*axes, limits=None):
    """A model with one input. An axis is a name, or a name and a size."""
    named = [axis if isinstance(axis, tuple) else (axis, -1) for axis in ("batch", *axes)]
    names, sizes = zip(*named, strict=True)
    tensor = TensorMetadata("input", "FP32", sizes, names, limits=limits or {})
    return ModelMetadata("m", ("1",), "onnx", {"input": tensor}, {})


POINTS = model("sequence", ("features", 2))
FEATURES_FIRST = model(("features", 2), "sequence")


def written(format_, rows):
    """Rows of equal shape (steps, columns) as the content of a file."""
    rows = [np.array(row, np.float64) for row in rows]
    if format_.startswith("csv"):
        blocks = ["\n".join(",".join(f"{value:g}" for value in point) for point in row) for row in rows]
        head = "" if format_ == "csv" else ",".join(NAMES[: rows[0].shape[-1]]) + "\n"
        return (head + "\n\n".join(blocks) + "\n").encode()
    if format_ == "json":
        return json.dumps([row.tolist() for row in rows]).encode()
    buffer = io.BytesIO()
    if format_ == "npy":
        np.save(buffer, np.stack(rows))
    else:
        np.savez(buffer, input=np.stack(rows))
    return buffer.getvalue()


def ask(metadata, format_, rows):
    return read_rows(written(format_, rows), "file", metadata, format_.split()[0])[1]


def refusal(metadata, format_, rows):
    with pytest.raises(InvalidRequest) as refused:
        ask(metadata, format_, rows)
    return str(refused.value)


@given(st.sampled_from(FORMATS), st.sampled_from([2, 5]), st.integers(1, 10), st.integers(1, 7), st.booleans())
@example("json", 2, 3, 2, False)
@example("json", 2, 3, 2, True)
@example("json", 5, 3, 5, False)
@example("csv", 2, 1, 2, False)
@example("csv with a header", 2, 8, 1, False)
@example("csv with a header", 2, 9, 1, False)
@example("csv with a header", 2, 3, 2, False)
def test_wrong_width_suggests_transposing_only_if_it_can_help(format_, taken, columns, steps, is_limited):
    if columns == taken:
        return
    limits = {"sequence": (5, 64)} if is_limited else {}
    said = refusal(model("sequence", ("features", taken), limits=limits), format_, [np.ones((steps, columns))])
    if format_ in CSV:  # a line is a point: turned round it would fit, and be answered with nonsense
        count = "1 column" if columns == 1 else f"{columns} columns"
        shown = [*NAMES[: min(columns, 8)], *(["…"] if columns > 8 else [])]
        named = "" if format_ == "csv" else f" ({', '.join(shown)})"
        assert said.startswith(f"file, line 1 has {count}{named}; expected {taken}, one for each of the {taken} feat")
        return
    found = f"file: sequence 0 has shape ({steps}, {columns}), but model m takes (sequence, features={taken})"
    if format_ == "json":
        assert said.startswith(found)
    else:
        assert f"has shape ({1}, {steps}, {columns}); expected (batch, sequence, features={taken})" in said
    assert f"the model takes {taken} features, not {columns}" in said
    low, high = limits.get("sequence", (1, 1000))
    assert ("transpose" in said) == (steps == taken and low <= columns <= high)


def test_reversed_axes_are_named_if_every_row_has_them():
    for format_ in ("json", "npy", "npz"):
        said = refusal(POINTS, format_, [np.ones((2, 40)), np.ones((2, 40))])
        assert (
            "If its axes are in reverse order, (features, sequence), transpose it. Otherwise, the model takes 2" in said
        )
    with pytest.raises(InvalidRequest, match="the model takes 2 features, not 3") as refused:
        check_rows(POINTS, [np.ones((2, 3)), np.ones((5, 3))])
    assert "transpose" not in str(refused.value)


def test_csv_columns_are_features_on_any_axis():
    """A line is a point, even for a model that takes (features, sequence)."""
    for format_ in CSV:
        (row,) = ask(FEATURES_FIRST, format_, [[[1, 2], [3, 4], [5, 6]]]).tensors["input"]
        assert row.tolist() == [[1, 3, 5], [2, 4, 6]]
        assert "has 3 columns" in refusal(FEATURES_FIRST, format_, [np.ones((2, 3))])
