"""Strict JSON: refuses text that two parsers could read in two ways."""

import json
from collections.abc import Iterable
from reprlib import repr as shortened
from typing import Any, NoReturn

__all__ = ["fields_of", "load_strictly", "text_of"]


def load_strictly(data: bytes) -> Any:  # noqa: ANN401 - any JSON
    """Read JSON in UTF-8 without duplicate keys, NaN, infinity, or trailing text.

    Raises:
        ValueError: If it isn't such JSON.
    """
    try:
        return json.loads(data.decode(), object_pairs_hook=_without_doubles, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("objects are nested too deeply") from None


def fields_of(value: object, what: str, needed: Iterable[str], optional: Iterable[str] = ()) -> dict[str, Any]:
    """Return the fields of an object with required and optional fields.

    Args:
        value: The value, which must be an object.
        what: Name of it, for the message.
        needed: Names of the required fields.
        optional: Names of the optional fields.

    Raises:
        ValueError: If it isn't an object, lacks a field, or has an unknown field.
    """
    match value:
        case dict(fields):
            needed = set(needed)
            for name in sorted(needed - set(fields)):
                raise ValueError(f"{what} has no {name}")
            for name in sorted(set(fields) - needed - set(optional)):
                raise ValueError(f"{what} has {shortened(name)}, which is not allowed there")
            return fields
    raise ValueError(f"{what} is not an object")


def text_of(value: object, what: str) -> str:
    """Return a value that must be text.

    Args:
        value: The value.
        what: Name of it, for the message.

    Raises:
        ValueError: If it isn't text.
    """
    match value:
        case str(text):
            return text
    raise ValueError(f"{what} must be a string")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("an object contains a key twice")
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
