"""JSON: a list of sequences, each a list of points, each a list of numbers; or a single such sequence."""

import json

import numpy as np
import numpy.typing as npt

from rnnserve.client.errors import UnreadableInput
from rnnserve.client.reading.named_sequences import NamedSequences, decode_text

__all__ = ["read_json"]


def read_json(data: bytes, source: str) -> NamedSequences:
    """Return the sequences of a JSON document.

    Raises:
        UnreadableInput: The document is not JSON, or does not hold sequences.
    """
    try:
        document = json.loads(decode_text(data, source))
    except json.JSONDecodeError as error:
        raise UnreadableInput(
            f"{source}, line {error.lineno}, column {error.colno}: expected JSON, a list of sequences ({error.msg})"
        ) from error
    except RecursionError as error:
        raise UnreadableInput(f"{source}: nested too deeply. Expected a list of sequences of points") from error
    if not isinstance(document, list):
        raise UnreadableInput(f"{source}: holds {_kind(document)}. Expected a list of sequences, each a list of points")
    sequences = [document] if _is_sequence(document) else document
    return NamedSequences.numbered([_sequence(value, f"{source}, sequence {i}") for i, value in enumerate(sequences)])


def _is_sequence(document: list[object]) -> bool:
    """Return whether a document is a single sequence, a list of points, by its first element."""
    first = document[0] if document else None
    return isinstance(first, list) and bool(first) and not isinstance(first[0], list)


def _sequence(value: object, place: str) -> npt.NDArray[np.float64]:
    if not isinstance(value, list) or not value:
        raise UnreadableInput(f"{place}: holds {_kind(value)}. Expected a list of points, at least one")
    features = len(value[0]) if isinstance(value[0], list) else 0
    points = [_point(point, f"{place}, point {index}", features) for index, point in enumerate(value)]
    return np.array(points, dtype=np.float64)


def _point(value: object, place: str, features: int) -> list[float]:
    if not isinstance(value, list) or not value:
        raise UnreadableInput(f"{place}: holds {_kind(value)}. Expected a point, a list of numbers such as [0.5, -0.5]")
    if len(value) != features:
        raise UnreadableInput(f"{place}: has {len(value)} numbers. Expected {features}, as in point 0")
    return [_number(number, f"{place}, number {index}") for index, number in enumerate(value)]


def _number(value: object, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnreadableInput(f"{place}: holds {_kind(value)}. Expected a number")
    try:
        return float(value)
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
