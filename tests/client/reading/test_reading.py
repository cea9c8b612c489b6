import io
import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnserve.client import UnreadableInput
from rnnserve.client.reading import FORMATS, guess_format, read_sequences

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
RAGGED = st.integers(1, 4).flatmap(
    lambda features: st.lists(
        st.lists(st.lists(NUMBERS, min_size=features, max_size=features), min_size=1, max_size=6),
        min_size=1,
        max_size=6,
    )
)


def lists(found):
    return [points.tolist() for points in found.points]


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


@settings(deadline=None)
@given(RAGGED)
def test_json_gives_the_numbers_that_were_written(sequences):
    found = read_sequences(json.dumps(sequences).encode(), "standard input")
    assert lists(found) == sequences
    assert found.names == [str(index) for index in range(len(sequences))]


@settings(deadline=None)
@given(RAGGED, st.sampled_from(["\n", "\r\n"]))
def test_csv_gives_the_numbers_that_were_written(sequences, newline):
    text = (newline * 2).join(newline.join(",".join(map(repr, point)) for point in sequence) for sequence in sequences)
    assert lists(read_sequences(text.encode(), "walks.csv")) == sequences


@settings(deadline=None)
@given(st.integers(0, 999), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3))
def test_npy_gives_the_numbers_that_were_written(seed, batch, sequence, features):
    array = np.random.default_rng(seed).normal(size=(batch, sequence, features)).astype(np.float32)
    assert lists(read_sequences(npy(array), "standard input")) == array.tolist()
    assert lists(read_sequences(npy(array[0]), "standard input")) == [array[0].tolist()]


@settings(deadline=None)
@given(st.binary() | st.binary().map(lambda tail: npy(np.zeros((2, 2)))[:70] + tail), st.sampled_from(FORMATS))
def test_whatever_the_bytes_are_they_are_read_or_refused(data, format_):
    try:
        found = read_sequences(data, "noise", format_)
    except UnreadableInput as error:
        message = str(error)
    else:
        assert all(points.ndim == 2 and points.size for points in found.points)
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
def test_what_else_is_understood(text, sequences):
    assert lists(read_sequences(text.encode(), "standard input")) == sequences


def test_a_column_called_sequence_names_sequences_and_may_stand_anywhere():
    text = "x,Sequence,y\n0,home,1\n\n2,shop,3\n4,home,5\n"
    found = read_sequences(text.encode(), "walks.csv")
    assert found.names == ["home", "shop"]
    assert lists(found) == [[[0, 1], [4, 5]], [[2, 3]]]


@pytest.mark.parametrize(
    ("data", "source", "format_"),
    [
        (b"[", "walks.CSV", "csv"),
        (b"0,0", "walks.json", "json"),
        (b"0,0", "walks.npy", "npy"),
        (b" \n[[", "standard input", "json"),
        (b"\xef\xbb\xbf{", "walks.txt", "json"),
        (b"\x93NUMPY\x01", "walks", "npy"),
        (b"0,0", "walks.dat", "csv"),
        (b"", "standard input", "csv"),
    ],
)
def test_formats_are_told_by_name_then_by_content(data, source, format_):
    assert guess_format(data, source) == format_


@pytest.mark.parametrize(
    ("source", "data", "complaint"),
    [
        ("w.json", "", "w.json, line 1, column 1: expected JSON"),
        ("w.json", "[[[0, 1],\n [2 3]]]", "w.json, line 2, column 5: expected JSON"),
        ("w.json", '{"walks": []}', "w.json: holds an object. Expected a list of sequences"),
        ("w.json", "[]", "w.json: holds no sequences"),
        ("w.json", "[[], [[0, 1]]]", "w.json, sequence 0: holds an empty list. Expected a list of points"),
        ("w.json", "[0, 1]", "w.json, sequence 0: holds a number. Expected a list of points"),
        (
            "w.json",
            "[[[0, 1]], [[0, 1], [2]]]",
            "w.json, sequence 1, point 1: has 1 numbers. Expected 2, as in point 0",
        ),
        ("w.json", "[[[0, 1], 5]]", "w.json, sequence 0, point 1: holds a number. Expected a point"),
        ("w.json", "[[[0, 1]], [[0, null]]]", "w.json, sequence 1, point 0, number 1: holds null. Expected a number"),
        ("w.json", "[[0, true]]", "w.json, sequence 0, point 0, number 1: holds true"),
        ("w.json", '[[[0, "1"]]]', "w.json, sequence 0, point 0, number 1: holds the text '1'"),
        ("w.json", "[[[[0]]]]", "w.json, sequence 0, point 0, number 0: holds a list. Expected a number"),
        ("w.json", "[[[1" + "0" * 400 + "]]]", "number 0: is too large"),
        ("w.json", "[" * 100_000, "w.json: nested too deeply"),
        ("w.json", b"[[\xff", "w.json, byte 2: expected UTF-8"),
        ("w.csv", "", "w.csv: holds no sequences"),
        ("w.csv", "x,y\n", "w.csv: holds no sequences"),
        ("w.csv", "x,y\n0,1\n\n2,3,4\n", "w.csv, line 4: has 3 columns. Expected 2, as in line 1 (x, y)"),
        ("w.csv", "0,1\n2\n", "w.csv, line 2: has 1 columns. Expected 2, as in line 1 (column 1, column 2)"),
        ("w.csv", "x,y\n0,1\n2,north\n", "w.csv, line 3, y: 'north' is not a number"),
        ("w.csv", "0,1\n2,\n", "w.csv, line 2, column 2: '' is not a number"),
        ("w.csv", "x;y\n0;1\n", "w.csv, line 2, x;y: '0;1' is not a number (columns are separated by commas)"),
        ("w.csv", "sequence,x\n,1\n", "w.csv, line 2: the column sequence is empty"),
        ("w.csv", "sequence\na\n", "w.csv, line 1: the header is sequence. Expected a column for each feature"),
        ("w.csv", "sequence,x,sequence\na,1,b\n", "at most one called sequence"),
        ("w.csv", '0,1\n"2,3\n', "w.csv, line 2: expected comma-separated cells"),
        ("w.csv", b"\x93NUMPY\xff", "w.csv, byte 0: expected UTF-8 text (is it a .npy file?)"),
        ("w.npy", "0,1", "w.npy: is not a .npy file"),
        ("w.npy", npy(np.zeros((2, 2)))[:-1], "w.npy: expected one array of numbers"),
        ("w.npy", npy(np.array([None]), allow_pickle=True), "w.npy: expected one array of numbers"),
        ("w.npy", npy(np.zeros(4)), "w.npy: has shape (4,). Expected (length, features), or (batch, sequence"),
        ("w.npy", npy(np.zeros((0, 2))), "w.npy: has shape (0, 2)"),
        ("w.npy", npy(np.array([["a"]])), "w.npy: has dtype <U1. Expected real numbers"),
    ],
)
def test_mistakes_are_named_with_their_place(source, data, complaint):
    with pytest.raises(UnreadableInput, match=re.escape(complaint)):
        read_sequences(data.encode() if isinstance(data, str) else data, source)
