"""Read rows of a model's inputs from JSON, CSV and numpy's `.npy` and `.npz`.

The standard library and numpy parse the files, and `check_rows` checks the rows, as it does for rows from Python.
"""

import csv
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from rnnserve.client.errors import InvalidRequest, UnreadableInput
from rnnserve.client.metadata import ModelMetadata, TensorMetadata
from rnnserve.client.row_inputs import RowInputs, check_rows, main_input
from rnnserve.client.tensors import Array

__all__ = ["FORMATS", "PointReader", "guess_format", "read_arrays", "read_rows"]

FORMATS = ("json", "csv", "npy", "npz")
"""Names of the formats."""

_NPY_START, _NPZ_START = b"\x93NUMPY", b"PK"
_SHOWN_NAMES = 8


def read_rows(
    data: bytes, source: str, metadata: ModelMetadata, format_: str = "auto"
) -> tuple[dict[str, Any], RowInputs]:
    """Return the rows in a file's content.

    Args:
        data: The file's content.
        source: The file's name, for errors and for the format "auto".
        metadata: The model's metadata, which determine the axes of a row.
        format_: One of FORMATS, or "auto" to use the name's suffix, or else the first bytes.

    Returns:
        The rows of each input, as `Client.predict` takes them, and the result of `check_rows`.

    Raises:
        UnreadableInput: The content does not have this format, or does not contain rows of this model. The message
            contains the position and the expected form.
    """
    format_ = guess_format(data, source) if format_ == "auto" else format_
    try:
        found: Any
        if format_ == "json":
            found = _parse_json(_decode_text(data, source), source)
        elif format_ == "csv":
            found = _read_csv(data, source, main_input(metadata))
        else:
            found = read_arrays(data, source) if format_ == "npz" else _read_npy(data, source)
        inputs = found if isinstance(found, dict) else {main_input(metadata).name: found}
        for name, tensor in metadata.inputs.items():
            if name in inputs and _rank(inputs[name]) == len(tensor.row_axes):
                inputs[name] = [inputs[name]]  # a single row
        rows = check_rows(metadata, inputs)
    except UnreadableInput:
        raise
    except InvalidRequest as error:
        raise UnreadableInput(f"{source}: {error}") from error
    if not len(rows):
        raise UnreadableInput(f"{source} contains no sequences")
    return inputs, rows


def guess_format(data: bytes, source: str) -> str:
    """Return the format of a file, from its name's suffix if that is known, or else from its first bytes."""
    suffix = PurePath(source).suffix.lower().removeprefix(".")
    if suffix in FORMATS:
        return suffix
    if data.startswith(_NPY_START):
        return "npy"
    if data.startswith(_NPZ_START):
        return "npz"
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return "json" if start in (b"[", b"{") else "csv"


def _rank(value: Any) -> int:  # noqa: ANN401 - an array, or any JSON value
    """Return the number of axes of an array, or of nested lists judged by their first elements."""
    rank = 0
    while isinstance(value, list) and value:
        value, rank = value[0], rank + 1
    return rank + getattr(value, "ndim", 0)


def _decode_text(data: bytes, source: str) -> str:
    """Decode UTF-8 text, without a byte order mark."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableInput(f"{source}, byte {error.start}: expected UTF-8 text; is this a .npy file?") from error


def _parse_json(text: str, source: str) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{source}, line {error.lineno}, column {error.colno}"
        raise UnreadableInput(f"{place}: expected lists of numbers in JSON ({error.msg})") from error
    except RecursionError as error:
        raise UnreadableInput(f"{source} is nested too deeply; expected a list of sequences of points") from error


def read_arrays(data: bytes, source: str) -> dict[str, Array]:
    """Return the arrays of a `.npz` file by name.

    Raises:
        UnreadableInput: The content is not a `.npz` file, or contains objects (pickles are never loaded).
    """
    if not data.startswith(_NPZ_START):
        raise UnreadableInput(f"{source} is not a .npz file; write it with numpy.savez")
    damages = ValueError, MemoryError, KeyError, OSError, EOFError, NotImplementedError, RuntimeError, zipfile.error
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return dict(file.items())
    except damages as error:
        raise UnreadableInput(f"{source}: expected arrays of numbers ({error})") from error


def _read_npy(data: bytes, source: str) -> Array:
    if not data.startswith(_NPY_START):
        raise UnreadableInput(f"{source} is not a .npy file; write it with numpy.save")
    try:
        return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, MemoryError) as error:  # a damaged header may contain any size
        raise UnreadableInput(
            f"{source}: expected one array of numbers ({error}). For sequences of different lengths, use JSON or CSV"
        ) from error


# CSV: one point per line, one column per feature. A first line without any number is the header. Blank lines separate
# sequences. For an input with one number per step, such as token ids, there is one column. For an input without a
# sequence axis, each line is a row.


def _read_csv(data: bytes, source: str, tensor: TensorMetadata) -> list[Any]:
    """Return the rows of a CSV file."""
    table = _Table(tensor)
    sequences: list[list[Any]] = [[]]
    for line, cells in _split_csv(_decode_text(data, source), source):
        if not any(cells):
            sequences.append([])
            continue
        point = table.parse(cells, f"{source}, line {line}")
        if point is not None:
            sequences[-1].append(point)
    rows = [points for points in sequences if points]
    if table.columns and not rows:
        raise UnreadableInput(f"{source} contains a header ({', '.join(table.columns)}) but no numbers")
    sizes = [size for _, size in tensor.row_axes]
    if sizes != [-1] and len(sizes) < 2:
        return [point for points in rows for point in points]
    if len(sizes) == 2 and sizes[0] >= 0 and sizes[1] < 0:  # a row is (features, sequence)
        return [np.array(points).T for points in rows]
    return rows


class PointReader:
    """Reads the points of one sequence, one from each non-blank line of JSON or CSV."""

    def __init__(self, metadata: ModelMetadata) -> None:
        self._metadata = metadata
        self._table: _Table | None = None

    def read(self, line: bytes, place: str) -> Any:  # noqa: ANN401 - any JSON value
        """Return the point, or None for the header of a CSV. May raise UnreadableInput, with the line's `place`."""
        text = _decode_text(line, place).strip()
        if text[:1] in ("[", "{"):
            return _parse_json(text, place)
        try:
            self._table = self._table or _Table(main_input(self._metadata))
        except InvalidRequest as error:
            raise UnreadableInput(f"{place}: {error}") from error
        ((_, cells),) = _split_csv(text, place)
        return self._table.parse(cells, place)


class _Table:
    """A CSV table with the points of an input. `columns` are the names from the first line, or numbers."""

    def __init__(self, tensor: TensorMetadata) -> None:
        self._tensor = tensor
        self._has_one_column = all(size < 0 for _, size in tensor.row_axes) and len(tensor.row_axes) < 2
        self.columns: list[str] = []
        if len(tensor.row_axes) > 2:
            axes = ", ".join(axis for axis, _ in tensor.row_axes)
            raise InvalidRequest(f"a row of {tensor.name} is ({axes}), which CSV cannot represent; use JSON or .npy")

    def parse(self, cells: Sequence[str], place: str) -> list[float] | float | None:
        """Return the point on a line, or None for the header."""
        numbers = [_number(cell) for cell in cells]
        is_header = not self.columns and all(number is None for number in numbers)
        if not self.columns:
            self._check_width(cells if is_header else [], len(cells), place)
            self.columns = list(cells) if is_header else [f"column {index + 1}" for index in range(len(cells))]
        if len(cells) != len(self.columns):
            raise UnreadableInput(
                f"{place} has {len(cells)} columns; expected {len(self.columns)} ({', '.join(self.columns)})"
            )
        if is_header:
            return None
        for name, cell, number in zip(self.columns, cells, numbers, strict=True):
            if number is None:
                hint = "; separate columns by commas" if set(cell) & set("; \t") else ""
                raise UnreadableInput(f"{place}, {name}: {cell!r} is not a number{hint}")
        point = [number for number in numbers if number is not None]
        return point[0] if self._has_one_column else point

    def _check_width(self, names: Sequence[str], width: int, place: str) -> None:
        """Check that there is one column for each number of a point. `names` are those from the header."""
        tensor = self._tensor
        fixed = [(axis, size) for axis, size in tensor.row_axes if size >= 0]
        if self._has_one_column:
            expected, reason = 1, f"because {tensor.name} has one number per {'step' if tensor.row_axes else 'row'}"
        elif fixed:
            axis, expected = fixed[-1]
            reason = f"one for each of the {expected} {axis} of {tensor.name}, in the model's order"
        else:
            return
        if width != expected:
            count = "1 column" if width == 1 else f"{width} columns"
            shown = ", ".join([*names[:_SHOWN_NAMES], *(["…"] if len(names) > _SHOWN_NAMES else [])])
            named = f" ({shown})" if names else ""
            raise UnreadableInput(f"{place} has {count}{named}; expected {expected}, {reason}")


def _split_csv(text: str, source: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each line's number and its cells, without surrounding spaces. A blank line has no cells."""
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    try:
        for cells in reader:
            yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise UnreadableInput(f"{source}, line {reader.line_num}: expected comma-separated cells ({error})") from error


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
