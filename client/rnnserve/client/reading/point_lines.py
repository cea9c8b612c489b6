"""The points of a session, one a line: CSV or JSON, in the order in which they come."""

import csv
import json
from typing import Any

import numpy as np

from rnnserve.client.errors import UnreadableInput
from rnnserve.client.metadata import ModelMetadata, TensorMetadata
from rnnserve.client.reading.csv_format import check_columns, is_number, read_number
from rnnserve.client.reading.json_format import read_numbers
from rnnserve.client.reading.named_rows import decode_text, input_of_rows, named_input
from rnnserve.client.session_points import sequence_axis
from rnnserve.client.tensors import Array

__all__ = ["LINE_FORMATS", "PointLines"]

LINE_FORMATS = ("json", "csv")
"""Names of the formats that have lines."""


class PointLines:
    """Reads points from lines.

    The first line tells the format, unless it is given, and the columns of CSV: it is their header if it has no number.
    """

    def __init__(self, metadata: ModelMetadata, source: str, format_: str = "auto") -> None:
        """Read nothing yet.

        Args:
            metadata: The model's metadata.
            source: Origin of the lines, for messages.
            format_: "json", "csv", or "auto": by the first character.

        Raises:
            UnreadableInput: The format has no lines.
        """
        if format_ not in ("auto", *LINE_FORMATS):
            raise UnreadableInput(f"{source}: a file of the format {format_} has no lines. Expected csv or json")
        self._metadata = metadata
        self._source = source
        self._format = format_
        self._axis = sequence_axis(metadata)
        self._columns: list[str] = []
        self._columns_line = 0

    def read(self, line: bytes, number: int) -> dict[str, Array] | None:
        """Return the point of a line that is not blank, by input; None for the header of a CSV.

        Args:
            line: The line.
            number: Number of the line, from 1.

        Raises:
            UnreadableInput: The line holds no point of this model.
        """
        place = f"{self._source}, line {number}"
        text = decode_text(line, place).strip()
        if self._format == "auto":
            self._format = "json" if text[:1] in ("[", "{") else "csv"
        return self._read_json(text, place) if self._format == "json" else self._read_csv(text, place, number)

    def _read_json(self, text: str, place: str) -> dict[str, Array]:
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise UnreadableInput(f"{place}, column {error.colno}: expected JSON, one point ({error.msg})") from error
        except RecursionError as error:
            raise UnreadableInput(f"{place}: nested too deeply. Expected one point") from error
        if isinstance(value, dict):
            return {
                name: self._point(part, named_input(self._metadata, name, place), f"{place}, {name}")
                for name, part in value.items()
            }
        tensor = input_of_rows(self._metadata, place)
        return {tensor.name: self._point(value, tensor, place)}

    def _point(self, value: Any, tensor: TensorMetadata, place: str) -> Array:  # noqa: ANN401 - what JSON may hold
        rank = self._rank(tensor)
        words = ["part"] * (rank - 1) + ["number"] * (rank > 0)
        return read_numbers(value, words, place, allows_booleans=tensor.datatype == "BOOL")

    def _read_csv(self, text: str, place: str, number: int) -> dict[str, Array] | None:
        tensor = input_of_rows(self._metadata, place)
        if self._rank(tensor) > 1:
            raise UnreadableInput(f"{place}: a point of {tensor.name} is more than a line of numbers. Use JSON")
        try:
            (cells,) = csv.reader([text], skipinitialspace=True, strict=True)
        except csv.Error as error:
            raise UnreadableInput(f"{place}: expected comma-separated cells ({error})") from error
        cells = [cell.strip() for cell in cells]
        if not self._columns:
            is_header = not any(is_number(cell) for cell in cells)
            self._columns = cells if is_header else [f"column {index + 1}" for index in range(len(cells))]
            self._columns_line = number
            self._check_columns(tensor, place)
            if is_header:
                return None
        if len(cells) != len(self._columns):
            raise UnreadableInput(
                f"{place}: has {len(cells)} columns. Expected {len(self._columns)}, as in line {self._columns_line} "
                f"({', '.join(self._columns)})"
            )
        numbers = [read_number(cell, place, column) for cell, column in zip(cells, self._columns, strict=True)]
        if self._rank(tensor) == 1:
            return {tensor.name: np.array(numbers)}
        return {tensor.name: np.array(numbers[0])}

    def _check_columns(self, tensor: TensorMetadata, place: str) -> None:
        """Check the columns that the first line sets; a line that does not fit sets none."""
        try:
            check_columns(self._columns, place, tensor)
        except UnreadableInput:
            self._columns = []
            raise

    def _rank(self, tensor: TensorMetadata) -> int:
        """Return the number of axes of a point."""
        return sum(1 for axis, _ in tensor.row_axes if axis != self._axis)
