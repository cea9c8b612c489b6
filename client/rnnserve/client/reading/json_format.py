"""JSON: a list of rows, each nested lists of numbers; a single such row; or an object with the rows of each input."""

import json
from typing import Any

import numpy as np

from rnnserve.client.errors import UnreadableInput
from rnnserve.client.metadata import ModelMetadata, TensorMetadata
from rnnserve.client.reading.named_rows import NamedRows, decode_text, input_of_rows, named_input, row_word
from rnnserve.client.tensors import Array

__all__ = ["read_json", "read_numbers"]


def read_json(data: bytes, source: str, metadata: ModelMetadata) -> NamedRows:
    """Return the rows of a JSON document.

    Raises:
        UnreadableInput: The document is not JSON, or does not hold rows of the model's inputs.
    """
    try:
        document = json.loads(decode_text(data, source))
    except json.JSONDecodeError as error:
        raise UnreadableInput(
            f"{source}, line {error.lineno}, column {error.colno}: expected JSON, a list of sequences ({error.msg})"
        ) from error
    except RecursionError as error:
        raise UnreadableInput(f"{source}: nested too deeply. Expected a list of sequences of points") from error
    if isinstance(document, dict):
        return NamedRows.numbered(
            {
                name: _rows(rows, named_input(metadata, name, source), f"{source}, {name}")
                for name, rows in document.items()
            }
        )
    tensor = input_of_rows(metadata, source)
    return NamedRows.numbered({tensor.name: _rows(document, tensor, source)})


def _rows(document: object, tensor: TensorMetadata, source: str) -> list[Array]:
    if not isinstance(document, list):
        raise UnreadableInput(
            f"{source}: holds {_kind(document)}. Expected a list of {row_word(tensor)}s, or an object with such a list "
            "for each input"
        )
    rank = len(tensor.row_axes)
    # What the parts of a row are called in messages, outermost first.
    words = ["point", *["part"] * (rank - 2), "number"] if rank > 1 else ["number"] * rank
    listed = [document] if _is_row(document, rank) else document
    return [
        read_numbers(row, words, f"{source}, {row_word(tensor)} {index}", allows_booleans=tensor.datatype == "BOOL")
        for index, row in enumerate(listed)
    ]


def _is_row(document: list[Any], rank: int) -> bool:
    """Return whether a document is a single row and no list of rows, by its first elements."""
    value: Any = document
    for _ in range(rank):
        if not isinstance(value, list) or not value:
            return False
        value = value[0]
    return rank > 0 and not isinstance(value, list)


def read_numbers(value: object, words: list[str], place: str, *, allows_booleans: bool) -> Array:
    """Return nested lists of numbers as an array.

    Args:
        value: Value that the document holds.
        words: Words of messages for the parts of each level, outermost first; none for a single number.
        place: Place in the document, for messages.
        allows_booleans: Whether booleans count as numbers.

    Raises:
        UnreadableInput: It has other levels, or lists of one level have different sizes.
    """
    _check(value, words, place, allows_booleans=allows_booleans)
    array = np.array(value)
    return array.astype(np.float64) if array.dtype == object else array  # integers beyond 64 bits


def _check(value: object, words: list[str], place: str, *, allows_booleans: bool) -> None:
    """Check that a value is nested lists of numbers, with as many levels as there are words."""
    if not words:
        _check_number(value, place, allows_booleans=allows_booleans)
        return
    word, *inner = words
    if not isinstance(value, list) or not value:
        is_point = place.rsplit(" ", 2)[-2] == "point"
        expected = "a point, a list of numbers such as [0.5, -0.5]" if is_point else f"a list of {word}s, at least one"
        raise UnreadableInput(f"{place}: holds {_kind(value)}. Expected {expected}")
    for index, part in enumerate(value):
        _check(part, inner, f"{place}, {word} {index}", allows_booleans=allows_booleans)
        if inner and len(part) != len(value[0]):
            raise UnreadableInput(
                f"{place}, {word} {index}: has {len(part)} {inner[0]}s. Expected {len(value[0])}, as in {word} 0"
            )


def _check_number(value: object, place: str, *, allows_booleans: bool) -> None:
    if isinstance(value, bool) and allows_booleans:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnreadableInput(f"{place}: holds {_kind(value)}. Expected a number")
    try:
        float(value)
    except OverflowError as error:
        raise UnreadableInput(f"{place}: is too large for a floating-point number") from error


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
