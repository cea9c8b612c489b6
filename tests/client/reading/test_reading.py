import io
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rnnserve.client import ModelMetadata, TensorMetadata, UnreadableInput
from rnnserve.client.reading import FORMATS, read_rows

TENSORS = {
    "points": TensorMetadata("input", "FP32", (-1, -1, -1), ("batch", "sequence", "features")),
    "time_first": TensorMetadata("input", "FP32", (-1, -1, 2), ("sequence", "batch", "features")),
    "tokens": TensorMetadata("tokens", "INT64", (-1, -1), ("batch", "sequence")),
    "step": TensorMetadata("observation", "FP32", (-1, 3), ("batch", "features")),
    "number": TensorMetadata("price", "FP32", (-1,), ("batch",)),
    "flags": TensorMetadata("flags", "BOOL", (-1, -1), ("batch", "sequence")),
    "frames": TensorMetadata("frames", "FP32", (-1, -1, 2, 3), ("batch", "sequence", "height", "width")),
}


def model(*names):
    return ModelMetadata("m", ("1",), "", {TENSORS[name].name: TENSORS[name] for name in names}, {})


def read_sequences(data, source, format_="auto", names=("points",)):
    return read_rows(data, source, model(*names), format_)


NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)
RAGGED = st.integers(1, 4).flatmap(
    lambda features: st.lists(
        st.lists(st.lists(NUMBERS, min_size=features, max_size=features), min_size=1, max_size=6),
        min_size=1,
        max_size=6,
    )
)


def lists(found):
    """The rows of the only input, as lists, as they were read."""
    (rows,) = found[0].values()
    return [np.asarray(row).tolist() for row in rows]


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


cut_npz = st.tuples(st.integers(0, 300), st.binary()).map(lambda cut: npz(input=np.zeros((2, 2)))[: cut[0]] + cut[1])


@given(RAGGED, st.sampled_from(["\n", "\r\n"]))
def test_json_and_csv_are_read_as_they_were_written(sequences, newline):
    found = read_sequences(json.dumps(sequences).encode(), "standard input")
    assert lists(found) == sequences
    assert [size["sequence"] for size in found[1].sizes] == [len(sequence) for sequence in sequences]
    text = (newline * 2).join(newline.join(",".join(map(repr, point)) for point in sequence) for sequence in sequences)
    assert lists(read_sequences(text.encode(), "walks.csv")) == sequences


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=3, max_dims=3), elements=st.floats(-9, 9, width=32)))
def test_npy_is_read_as_it_was_written(array):
    assert lists(read_sequences(npy(array), "standard input")) == array.tolist()
    assert lists(read_sequences(npy(array[0]), "standard input")) == [array[0].tolist()]


@given(
    st.binary() | st.binary().map(lambda tail: npy(np.zeros((2, 2)))[:70] + tail) | cut_npz, st.sampled_from(FORMATS)
)
def test_any_bytes_are_read_or_refused(data, format_):
    try:
        found = read_sequences(data, "noise", format_)
    except UnreadableInput as error:
        message = str(error)
    else:
        assert all(row.ndim == 2 and row.size for rows in found[1].tensors.values() for row in rows)
        return
    assert message.startswith("noise")


@pytest.mark.parametrize(
    ("text", "sequences"),
    [
        ("[[0, 0], [0, 1]]", [[[0, 0], [0, 1]]]),
        ("\ufeff [[[0, 0]]]", [[[0, 0]]]),
        ("x,y\n0,0\n0,1\n\n\n1,1\n", [[[0, 0], [0, 1]], [[1, 1]]]),
        ("\n\n0,0\n , \n1,1", [[[0, 0]], [[1, 1]]]),
        ('\ufeff"x", "y"\n"0", 1e3\n', [[[0, 1000]]]),
        ("0.5\n0.25", [[[0.5], [0.25]]]),
    ],
)
def test_other_spellings_of_json_and_csv_are_understood(text, sequences):
    assert lists(read_sequences(text.encode(), "standard input")) == sequences


@pytest.mark.parametrize(
    ("source", "data", "complaint"),
    [
        ("w.json", "", "w.json, line 1, column 1: expected lists of numbers in JSON"),
        ("w.json", "[[[0, 1],\n [2 3]]]", "w.json, line 2, column 5: expected lists of numbers in JSON"),
        ("w.json", '{"walks": []}', 'w.json: model m has no input "walks"; its inputs are input'),
        ("w.json", '{"input": 5}', 'w.json: "input" must be a list of rows, got int'),
        ("w.json", "[[], [[0, 1]]]", "w.json: sequence 0 has shape (0,) and is empty"),
        ("w.json", "[0, 1]", "w.json: sequence 0 has shape (), but model m takes"),
        (
            "w.json",
            "[[[0, 1]], [[0, 1], [2]]]",
            "w.json: sequence 1 is ragged: it has 1 element at [1], but 2 elements at [0]",
        ),
        ("w.json", "[[[0, 1]], [[0, null]]]", "w.json: sequence 1 holds None at [0, 1]"),
        ("w.json", '[[[0, "1"]]]', "w.json: sequence 0 holds '1' at [0, 1]"),
        ("w.json", "[[[[0]]]]", "w.json: sequence 0 has shape (1, 1, 1)"),
        ("w.json", "[[[1" + "0" * 400 + "]]]", "w.json: sequence 0 holds an integer of more than 64 bits at [0, 0]"),
        ("w.json", "[" * 100_000, "w.json is nested too deeply"),
        ("w.json", b"[[\xff", "w.json, byte 2: expected UTF-8"),
        ("w.csv", "", "w.csv contains no sequences"),
        ("w.csv", "x,y\n1,2\n1,2,3\n", "w.csv, line 3 has 3 columns; expected 2 (x, y)"),
        ("w.csv", "1,2\n1\n", "w.csv, line 2 has 1 columns; expected 2 (column 1, column 2)"),
        ("w.csv", "id,x,y\na,1,2\n", "w.csv, line 2, id: 'a' is not a number"),
        ("w.csv", "x;y\n1;2\n", "w.csv, line 2, x;y: '1;2' is not a number; separate columns by commas"),
        ("w.csv", "x,y\n", "w.csv contains a header (x, y) but no numbers"),
        ("w.csv", "x,y\n0,1\n2,north\n", "w.csv, line 3, y: 'north' is not a number"),
        ("w.csv", "0,1\n2,\n", "w.csv, line 2, column 2: '' is not a number"),
        ("w.csv", '0,1\n"2,3\n', "w.csv, line 2: expected comma-separated cells"),
        ("w.csv", b"\x93NUMPY\xff", "w.csv, byte 0: expected UTF-8 text; is this a .npy file?"),
        ("w.npy", "0,1", "w.npy is not a .npy file"),
        ("w.npy", npy(np.zeros((2, 2)))[:-1], "w.npy: expected one array of numbers"),
        ("w.npy", npy(np.array([None]), allow_pickle=True), "w.npy: expected one array of numbers"),
        ("w.npy", npy(np.zeros(4)), "w.npy: the array has shape (4,); expected (batch, sequence, features)"),
        ("w.npy", npy(np.array([["a"]])), "w.npy: sequence 0 has dtype <U1; expected real numbers"),
    ],
)
def test_mistake_is_reported_with_its_position(source, data, complaint):
    with pytest.raises(UnreadableInput, match=re.escape(complaint)):
        read_sequences(data.encode() if isinstance(data, str) else data, source)


@pytest.mark.parametrize(
    ("name", "source", "data", "rows"),
    [
        ("tokens", "t.json", "[[1, 2, 3], [4]]", [[1, 2, 3], [4]]),
        ("tokens", "t.json", '{"tokens": [[9007199254740993]]}', [[9007199254740993]]),
        ("tokens", "t.npy", npy(np.array([1, 2])), [[1, 2]]),
        ("tokens", "t.npz", npz(tokens=np.array([[1, 2], [3, 4]])), [[1, 2], [3, 4]]),
        ("step", "s.csv", "a,b,c\n1,2,3\n\n4,5,6\n", [[1, 2, 3], [4, 5, 6]]),
        ("number", "n.csv", "1\n2.5\n", [1, 2.5]),
        ("flags", "f.json", "[[true, false], [true]]", [[True, False], [True]]),
        ("frames", "f.json", "[[[[1, 2, 3], [4, 5, 6]]]]", [[[[1, 2, 3], [4, 5, 6]]]]),
        ("time_first", "t.npy", npy([[[1, 2], [5, 6]], [[3, 4], [7, 8]]]), [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]),
    ],
)
def test_rows_have_the_axes_of_the_model_s_input(name, source, data, rows):
    found = read_sequences(data.encode() if isinstance(data, str) else data, source, names=[name])
    (read,) = found[1].tensors.values()
    assert [row.tolist() for row in read] == rows


def test_several_inputs_come_by_name():
    for data in (b'{"tokens": [[1, 2]], "observation": [[1, 2, 3]]}', npz(tokens=[[1, 2]], observation=[[1, 2, 3]])):
        found = read_sequences(data, "standard input", names=["tokens", "step"])
        assert {name: [row.tolist() for row in rows] for name, rows in found[1].tensors.items()} == {
            "tokens": [[1, 2]],
            "observation": [[1, 2, 3]],
        }
    with pytest.raises(
        UnreadableInput, match='model m takes "tokens", "observation"; pass the rows of each input by its name'
    ):
        read_sequences(b"[[1, 2]]", "standard input", names=["tokens", "step"])


@pytest.mark.parametrize(
    ("name", "source", "data", "complaint"),
    [
        ("tokens", "t.json", '[[1, "a"]]', "t.json: sequence 0 holds 'a' at [1]"),
        ("step", "s.json", "[[1, 2, 3], []]", "s.json: row 1 has shape (0,) and is empty"),
        (
            "frames",
            "f.json",
            "[[[[1, 2], [3]]]]",
            "sequence 0 is ragged: it has 1 element at [0, 1], but 2 elements at [0, 0]",
        ),
        ("frames", "f.csv", "1,2\n", "f.csv: a row of frames is (sequence, height, width), which CSV cannot represent"),
        (
            "tokens",
            "t.npy",
            npy(np.zeros((1, 2, 3))),
            "t.npy: the array has shape (1, 2, 3); expected (batch, sequence)",
        ),
        ("tokens", "t.npz", npz(ids=[1]), 't.npz: model m has no input "ids"; its inputs are tokens'),
        ("tokens", "t.npz", npz(tokens=["a"]), "t.npz: sequence 0 has dtype <U1; expected real numbers"),
        ("tokens", "t.npz", b"0", "t.npz is not a .npz file"),
        ("tokens", "t.npz", b"PK", "t.npz: expected arrays of numbers"),
    ],
)
def test_mistake_in_rows_with_other_axes_is_reported_with_its_position(name, source, data, complaint):
    with pytest.raises(UnreadableInput, match=re.escape(complaint)):
        read_sequences(data.encode() if isinstance(data, str) else data, source, names=[name])
