"""Read rows of a model's inputs from JSON, CSV and numpy's `.npy` and `.npz`.

The standard library and numpy parse the files. The checks after parsing are written by hand, because no library that is
small enough for the client reports mistakes by file, line or sequence, point and feature.
"""

import csv
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from rnnserve.client.errors import InvalidRequest, UnreadableInput
from rnnserve.client.metadata import ModelMetadata, TensorMetadata
from rnnserve.client.row_inputs import main_input, row_word
from rnnserve.client.tensors import Array

__all__ = ["FORMATS", "NamedRows", "guess_format", "read_arrays", "read_point", "read_rows"]

FORMATS = ("json", "csv", "npy", "npz")
"""Names of the formats."""

_MAGIC, _NPZ_MAGIC = b"\x93NUMPY", b"PK"
_ID = "sequence"
_SHOWN_NAMES = 8


@dataclass(frozen=True)
class NamedRows:
    """Rows, and their names in the file.

    Attributes:
        names: The ids from a CSV file's `sequence` column, or else "0", "1", …
        inputs: For each input, one array per row, in the file's order. An array has all axes of the input except the
            batch axis, and contains real numbers or booleans.
    """

    names: list[str]
    inputs: dict[str, list[Array]]


def read_rows(data: bytes, source: str, metadata: ModelMetadata, format_: str = "auto") -> NamedRows:
    """Return the rows in a file's content.

    Args:
        data: The file's content.
        source: The file's name, for errors and for the format "auto".
        metadata: The model's metadata, which determine the axes of a row.
        format_: One of FORMATS, or "auto" to use the name's suffix, or else the first bytes.

    Raises:
        UnreadableInput: The content does not have this format, or does not contain rows of this model. The message
            contains the position and the expected form.
    """
    format_ = guess_format(data, source) if format_ == "auto" else format_
    names = None
    read: Any  # rows by input, or of the only input
    if format_ == "csv":
        tensor = _input_of_rows(metadata, source)
        rows, names = _read_csv(data, source, tensor)
        inputs = {tensor.name: rows}
    else:
        if format_ == "json":
            read = _read_json(_decode_text(data, source), source)
        else:
            read = read_arrays(data, source) if format_ == "npz" else _read_npy(data, source)
        if isinstance(read, dict):
            inputs = {}
            for name, value in read.items():
                if name not in metadata.inputs:
                    raise UnreadableInput(
                        f"{source}: holds {name!r}, but the inputs of model {metadata.name} are "
                        f"{', '.join(metadata.inputs)}"
                    )
                inputs[name] = _rows(value, metadata.inputs[name], f"{source}, {name}", is_list=format_ == "json")
        else:
            tensor = _input_of_rows(metadata, source)
            inputs = {tensor.name: _rows(read, tensor, source, is_list=format_ == "json")}
    if names is None:
        names = [str(index) for index in range(max(map(len, inputs.values()), default=0))]
    if not names:
        raise UnreadableInput(f"{source}: holds no sequences")
    return NamedRows(names, inputs)


def guess_format(data: bytes, source: str) -> str:
    """Return the format of a file, from its name's suffix if that is known, or else from its first bytes."""
    suffix = PurePath(source).suffix.lower().removeprefix(".")
    if suffix in FORMATS:
        return suffix
    if data.startswith(_MAGIC):
        return "npy"
    if data.startswith(_NPZ_MAGIC):
        return "npz"
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return "json" if start in (b"[", b"{") else "csv"


def read_arrays(data: bytes, source: str) -> dict[str, Array]:
    """Return the arrays of a `.npz` file by name.

    Raises:
        UnreadableInput: The content is not a `.npz` file, or contains objects (pickles are never loaded).
    """
    if not data.startswith(_NPZ_MAGIC):
        raise UnreadableInput(f"{source}: is not a .npz file. Expected a file that numpy.savez wrote")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return dict(file.items())
    except (
        ValueError,
        MemoryError,
        KeyError,
        OSError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        zipfile.error,
    ) as error:
        raise UnreadableInput(f"{source}: expected arrays of numbers ({error})") from error


def read_point(line: bytes, place: str, metadata: ModelMetadata, columns: list[str]) -> Any:  # noqa: ANN401 - or JSON
    """Return the point on a non-blank line of JSON or CSV, or None for the header of a CSV.

    Pass the same list `columns` for every line, empty at first. The first CSV line that fits the model fills it with
    the names of the columns.
    """
    text = _decode_text(line, place).strip()
    if text[:1] in ("[", "{"):
        return _read_json(text, place)
    tensor = _input_of_rows(metadata, place)
    ((_, cells),) = _csv_lines(text, place)
    is_header = not columns and not any(_is_number(cell) for cell in cells)
    if not columns:
        names = cells if is_header else [_unnamed(index) for index in range(len(cells))]
        _check_columns(names, place, tensor)
        columns += names
    if len(cells) != len(columns):
        raise UnreadableInput(f"{place}: has {len(cells)} columns. Expected {len(columns)} ({', '.join(columns)})")
    if is_header:
        return None
    numbers = [_number(cell, place, name) for cell, name in zip(cells, columns, strict=True)]
    has_one = all(size < 0 for _, size in tensor.row_axes) and len(tensor.row_axes) < 2  # a token id, for example
    return numbers[0] if has_one else numbers


def _input_of_rows(metadata: ModelMetadata, source: str) -> TensorMetadata:
    """Return the input that the rows are for if the file names no inputs."""
    try:
        return main_input(metadata)
    except InvalidRequest as error:
        raise UnreadableInput(
            f"{source}: holds the rows of one input, but model {metadata.name} takes {', '.join(metadata.inputs)}. "
            "Expected a JSON object or a .npz file with the rows of each input by its name"
        ) from error


def _rows(value: Any, tensor: TensorMetadata, source: str, *, is_list: bool) -> list[Array]:  # noqa: ANN401 - as parsed
    """Return the rows of an input, from nested lists, from an array of all rows, or from a single row."""
    return _rows_of_lists(value, tensor, source) if is_list else _rows_of_array(value, tensor, source)


def _decode_text(data: bytes, source: str) -> str:
    """Decode UTF-8 text, without a byte order mark."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableInput(f"{source}, byte {error.start}: expected UTF-8 text (is it a .npy file?)") from error


# numpy's formats


def _read_npy(data: bytes, source: str) -> Array:
    if not data.startswith(_MAGIC):
        raise UnreadableInput(f"{source}: is not a .npy file. Expected a file that numpy.save wrote")
    try:
        return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, MemoryError) as error:  # a damaged header may contain any size
        raise UnreadableInput(
            f"{source}: expected one array of numbers ({error}). For sequences of different lengths, use JSON or CSV"
        ) from error


def _rows_of_array(array: Any, tensor: TensorMetadata, source: str) -> list[Array]:  # noqa: ANN401 - or an npz file's arrays
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        found = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else "no array"
        raise UnreadableInput(f"{source}: has {found}. Expected real numbers")
    row = [axis for axis, _ in tensor.row_axes]
    if array.ndim not in (len(row), len(row) + 1) or 0 in array.shape:
        raise UnreadableInput(
            f"{source}: has shape {array.shape}. Expected ({', '.join(row)}), or ({', '.join(tensor.axis_names)}), "
            "with no axis of size 0"
        )
    return [array] if array.ndim == len(row) else list(np.moveaxis(array, tensor.batch_axis or 0, 0))


# JSON: a list of rows (each as nested lists of numbers), a single row, or an object with the rows of each input


def _read_json(text: str, source: str) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UnreadableInput(
            f"{source}, line {error.lineno}, column {error.colno}: expected JSON, lists of numbers ({error.msg})"
        ) from error
    except RecursionError as error:
        raise UnreadableInput(f"{source}: nested too deeply. Expected a list of sequences of points") from error


def _rows_of_lists(document: object, tensor: TensorMetadata, source: str) -> list[Array]:
    word = row_word(tensor)
    if not isinstance(document, list):
        raise UnreadableInput(
            f"{source}: holds {_kind(document)}. Expected a list of {word}s, or an object with such a list for each "
            "input"
        )
    rank = len(tensor.row_axes)
    # The words for the parts of a row in messages, outermost first.
    words = ["point", *["part"] * (rank - 2), "number"] if rank > 1 else ["number"] * rank
    rows: list[Array] = []
    for index, row in enumerate([document] if _is_row(document, rank) else document):
        _check_lists(row, words, f"{source}, {word} {index}", allows_booleans=tensor.datatype == "BOOL")
        array = np.array(row)
        rows.append(array.astype(np.float64) if array.dtype == object else array)  # integers beyond 64 bits
    return rows


def _is_row(document: list[Any], rank: int) -> bool:
    """Return whether a document is a single row rather than a list of rows, from its first elements."""
    value: Any = document
    for _ in range(rank):
        if not isinstance(value, list) or not value:
            return False
        value = value[0]
    return rank > 0 and not isinstance(value, list)


def _check_lists(value: object, words: list[str], place: str, *, allows_booleans: bool) -> None:
    """Check that a value is nested lists of numbers: one level for each word, and equal sizes within a level."""
    if not words:
        if isinstance(value, bool) and allows_booleans:
            return
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UnreadableInput(f"{place}: holds {_kind(value)}. Expected a number")
        try:
            float(value)
        except OverflowError as error:
            raise UnreadableInput(f"{place}: is too large for a floating-point number") from error
        return
    word, *inner = words
    if not isinstance(value, list) or not value:
        is_point = place.rsplit(" ", 2)[-2] == "point"
        expected = "a point, a list of numbers such as [0.5, -0.5]" if is_point else f"a list of {word}s, at least one"
        raise UnreadableInput(f"{place}: holds {_kind(value)}. Expected {expected}")
    for index, part in enumerate(value):
        _check_lists(part, inner, f"{place}, {word} {index}", allows_booleans=allows_booleans)
        if inner and len(part) != len(value[0]):
            raise UnreadableInput(
                f"{place}, {word} {index}: has {len(part)} {inner[0]}s. Expected {len(value[0])}, as in {word} 0"
            )


def _kind(value: object) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        return f"the text {value!r}" if len(value) < 30 else "a text"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "an object"


# CSV: one point per line, one column per feature. A first line without any number is the header. Blank lines separate
# sequences. If the header has a column `sequence`, lines with the same id form one sequence. For an input with one
# number per step, such as token ids, there is one column. For an input without a sequence axis, each line is a row.


def _read_csv(data: bytes, source: str, tensor: TensorMetadata) -> tuple[list[Array], list[str] | None]:
    """Return the rows of a CSV file, and their names if it has any."""
    if len(tensor.row_axes) > 2:
        axes = ", ".join(axis for axis, _ in tensor.row_axes)
        raise UnreadableInput(f"{source}: a row of {tensor.name} is ({axes}), more than a table. Use JSON or .npy")
    columns: list[str] = []
    first_line, id_column, blanks = 0, -1, 0
    sequences: dict[str, list[list[float]]] = {}
    for line, cells in _csv_lines(_decode_text(data, source), source):
        place = f"{source}, line {line}"
        if not any(cells):
            blanks += 1
            continue
        if not columns:
            first_line = line
            if not any(_is_number(cell) for cell in cells):
                columns, id_column = cells, _id_column(cells, place)
                continue
            columns = [_unnamed(index) for index in range(len(cells))]
        if len(cells) != len(columns):
            raise UnreadableInput(
                f"{place}: has {len(cells)} columns. Expected {len(columns)}, as in line {first_line} "
                f"({', '.join(columns)})"
            )
        key = str(blanks) if id_column < 0 else cells[id_column]
        if not key:
            raise UnreadableInput(f"{place}: the column {_ID} is empty. Expected the sequence's id")
        point = [
            _number(cell, place, name)
            for index, (cell, name) in enumerate(zip(cells, columns, strict=True))
            if index != id_column
        ]
        sequences.setdefault(key, []).append(point)
    if not columns:
        return [], None
    features = [name for index, name in enumerate(columns) if index != id_column]
    _check_columns(features, f"{source}, line {first_line}", tensor)
    if not sequences:
        raise UnreadableInput(f"{source}: holds a header ({', '.join(columns)}) and no line of numbers")
    rows: list[Array] = [np.array(sequence, dtype=np.float64) for sequence in sequences.values()]
    sizes = [size for _, size in tensor.row_axes]
    if len(sizes) == 2 and sizes[0] >= 0 and sizes[1] < 0:  # a row is (features, sequence)
        rows = [array.T for array in rows]
    if sizes in ([], [-1]):
        rows = [array[:, 0] for array in rows]
    if len(sizes) < 2 and sizes != [-1]:
        return [row for array in rows for row in array], None
    return rows, None if id_column < 0 else list(sequences)


def _id_column(header: Sequence[str], place: str) -> int:
    """Return the index of the column `sequence`, or -1 if there is none."""
    ids = [index for index, name in enumerate(header) if name.lower() == _ID]
    if len(ids) > 1 or len(ids) == len(header):
        raise UnreadableInput(
            f"{place}: the header is {', '.join(header)}. Expected a column for each feature (x, y) and at most one "
            f"called {_ID}"
        )
    return ids[0] if ids else -1


def _check_columns(names: Sequence[str], place: str, tensor: TensorMetadata) -> None:
    """Check that a table has one column for each number of a point."""
    sizes = [size for _, size in tensor.row_axes]
    fixed = [(axis, size) for axis, size in tensor.row_axes if size >= 0]
    if sizes in ([], [-1]):
        expected, reason = 1, f"since {tensor.name} has one number per {'step' if sizes else 'row'}"
    elif fixed:
        axis, expected = fixed[-1]
        reason = f"one for each of the {expected} {axis} of {tensor.name}, in the model's order"
    else:
        return
    if len(names) != expected:
        count = "1 column" if len(names) == 1 else f"{len(names)} columns"
        shown = [*names[:_SHOWN_NAMES], *(["…"] if len(names) > _SHOWN_NAMES else [])]
        named = "" if names[0] == _unnamed(0) else f" ({', '.join(shown)})"
        raise UnreadableInput(f"{place}: has {count}{named}. Expected {expected}, {reason}")


def _unnamed(index: int) -> str:
    """Return the name of a column without a header."""
    return f"column {index + 1}"


def _csv_lines(text: str, source: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each line's number and its cells, without surrounding spaces. A blank line has no cells."""
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    try:
        for cells in reader:
            yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise UnreadableInput(f"{source}, line {reader.line_num}: expected comma-separated cells ({error})") from error


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(cell: str, place: str, column: str) -> float:
    try:
        return float(cell)
    except ValueError as error:
        hint = " (columns are separated by commas)" if ";" in cell or "\t" in cell or " " in cell else ""
        raise UnreadableInput(f"{place}, {column}: {cell!r} is not a number{hint}") from error
