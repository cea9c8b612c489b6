"""CSV: one point per line, one column per feature; blank lines, or a column `sequence`, separate sequences.

For an input with one number per step, such as token ids, there is one column; for an input without a sequence axis,
each line is a row.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rnnserve.client.errors import UnreadableInput
from rnnserve.client.metadata import ModelMetadata, TensorMetadata
from rnnserve.client.reading.named_rows import NamedRows, decode_text, input_of_rows
from rnnserve.client.row_shapes import column_axis
from rnnserve.client.tensors import Array

__all__ = ["check_columns", "is_number", "read_csv", "read_number"]

_ID = "sequence"
_SHOWN_NAMES = 8


@dataclass(frozen=True)
class _Columns:
    """The columns of a file.

    Attributes:
        names: Name of each column.
        line: Number of the line that set the columns.
        id_column: Index of the column with the sequences' ids, if there is one.
        features: Indices of the columns with features.
    """

    names: list[str]
    line: int
    id_column: int | None = None
    features: list[int] = field(default_factory=list)


def read_csv(data: bytes, source: str, metadata: ModelMetadata) -> NamedRows:
    """Return the rows of a CSV file.

    A first line without any number is the header. If the header has a column `sequence`, lines with the same id form
    one sequence, and sequences are in the order of their ids' first lines. Otherwise blank lines separate sequences.

    Raises:
        UnreadableInput: A line has another number of columns than the first line or than a point has numbers, a cell
            is not a number, or the model's input has other axes than a table.
    """
    tensor = input_of_rows(metadata, source)
    if len(tensor.row_axes) > 2:
        axes = ", ".join(axis for axis, _ in tensor.row_axes)
        raise UnreadableInput(f"{source}: a row of {tensor.name} is ({axes}), more than a table. Use JSON or .npy")
    columns: _Columns | None = None
    sequences: dict[str, list[list[float]]] = {}
    run = 0
    for line, cells in _rows(decode_text(data, source), source):
        if not any(cells):
            run += 1
            continue
        if columns is None:
            columns, is_header = _columns(cells, line, source)
            if is_header:
                continue
        if len(cells) != len(columns.names):
            raise UnreadableInput(
                f"{source}, line {line}: has {len(cells)} columns. Expected {len(columns.names)}, as in line "
                f"{columns.line} ({', '.join(columns.names)})"
            )
        key = str(run) if columns.id_column is None else cells[columns.id_column]
        if not key:
            raise UnreadableInput(f"{source}, line {line}: the column {_ID} is empty. Expected the sequence's id")
        point = [
            read_number(cells[column], f"{source}, line {line}", columns.names[column]) for column in columns.features
        ]
        sequences.setdefault(key, []).append(point)
    points = [np.array(sequence, dtype=np.float64) for sequence in sequences.values()]
    if columns is None:
        return NamedRows([], {})
    check_columns([columns.names[column] for column in columns.features], f"{source}, line {columns.line}", tensor)
    if not points:
        raise UnreadableInput(f"{source}: holds a header ({', '.join(columns.names)}) and no line of numbers")
    return _fit(points, None if columns.id_column is None else list(sequences), tensor)


def _fit(points: list[npt.NDArray[np.float64]], names: list[str] | None, tensor: TensorMetadata) -> NamedRows:
    """Give sequences (length, columns) the axes of a row of the input."""
    rows: list[Array] = list(points)
    sizes = [size for _, size in tensor.row_axes]
    columns = column_axis(tensor)
    if len(sizes) == 2 and columns is not None and columns[0] == 0:  # a row is (features, sequence)
        rows = [array.T for array in points]
    if len(sizes) < 2:
        if sizes in ([], [-1]):
            rows = [array[:, 0] for array in points]
        if sizes != [-1]:  # every line is a row
            rows, names = [row for array in rows for row in array], None
    inputs = {tensor.name: rows}
    return NamedRows.numbered(inputs) if names is None else NamedRows(names, inputs)


def check_columns(names: Sequence[str], place: str, tensor: TensorMetadata) -> None:
    """Check that a table has as many columns as a point of the input has numbers.

    Args:
        names: Names of the columns with features, or "column 1", ….
        place: The line that has set them, for messages.
        tensor: The input.

    Raises:
        UnreadableInput: It has more or fewer; the message says which came, and what the model takes.
    """
    sizes = [size for _, size in tensor.row_axes]
    if sizes in ([], [-1]):
        expected, reason = 1, f"since {tensor.name} has one number per {'step' if sizes else 'row'}"
    else:
        columns = column_axis(tensor)
        if columns is None:
            return
        _, axis, expected = columns
        reason = f"one for each of the {expected} {axis} of {tensor.name}, in the model's order"
    if len(names) != expected:
        count = "1 column" if len(names) == 1 else f"{len(names)} columns"
        shown = [*names[:_SHOWN_NAMES], *(["…"] if len(names) > _SHOWN_NAMES else [])]
        named = "" if names[0] == _unnamed(0) else f" ({', '.join(shown)})"
        raise UnreadableInput(f"{place}: has {count}{named}. Expected {expected}, {reason}")


def _unnamed(index: int) -> str:
    """Return what a column without a header is called."""
    return f"column {index + 1}"


def _rows(text: str, source: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each line's number and its cells without surrounding spaces; a blank line has no cells."""
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    try:
        for cells in reader:
            yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise UnreadableInput(f"{source}, line {reader.line_num}: expected comma-separated cells ({error})") from error


def _columns(cells: Sequence[str], line: int, source: str) -> tuple[_Columns, bool]:
    """Return the columns that the first line sets, and whether that line is a header."""
    if any(is_number(cell) for cell in cells):
        names = [_unnamed(index) for index in range(len(cells))]
        return _Columns(names, line, None, list(range(len(cells)))), False
    names = [cell.lower() for cell in cells]
    features = [index for index, name in enumerate(names) if name != _ID]
    if len(names) - len(features) > 1 or not features:
        raise UnreadableInput(
            f"{source}, line {line}: the header is {', '.join(cells)}. Expected a column for each feature (x, y) "
            f"and at most one called {_ID}"
        )
    return _Columns(list(cells), line, names.index(_ID) if _ID in names else None, features), True


def is_number(cell: str) -> bool:
    """Return whether a cell holds a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def read_number(cell: str, place: str, column: str) -> float:
    """Return the number in a cell.

    Raises:
        UnreadableInput: It holds none; the message gives the place and the column.
    """
    try:
        return float(cell)
    except ValueError as error:
        hint = " (columns are separated by commas)" if ";" in cell or "\t" in cell or " " in cell else ""
        raise UnreadableInput(f"{place}, {column}: {cell!r} is not a number{hint}") from error
