"""From bytes to a JSON object and back.

Read by orjson, which takes 5 ms for a MiB of numbers where the standard library takes 50. Texts that it refuses are
tried again by the standard library, since clients that people have write NaN and Infinity as Python does; so are texts
in which a name may stand twice, which orjson would read as if only the last one were there.
"""

import json
from typing import Any

import orjson

from rnnserve.web.errors import RestError, bad_request, quoted

__all__ = ["dump", "parse_object"]

_LARGE = 1 << 20
"""Bytes of a text whose values are counted before it is read."""

_MOST_VALUES = 6_000_000
"""Numbers, texts and lists of a body of JSON, about: each takes 16 bytes in orjson's own form, and 8 to 88 as an
object. Beyond it: 413."""


def parse_object(text: bytes | memoryview) -> dict[str, Any]:
    """Read an object, of which all text is Unicode.

    Raises:
        RestError: If the text is no JSON, no object, nested too deeply, has too many values, names one twice, or has a
            half of a surrogate pair.
    """
    if len(text) > _LARGE:
        _check_values(bytes(text))
    try:
        parsed = orjson.loads(text)
        # A name is followed by a colon: where there are no more colons than names, no name stands twice.
        if isinstance(parsed, dict) and bytes(text).count(b":") == _names_of(parsed):
            return parsed
    except orjson.JSONDecodeError:
        pass
    parsed = _parse_again(bytes(text))
    if not isinstance(parsed, dict):
        raise bad_request(f"the body is a JSON {_kind_of(parsed)}; send an object, {{…}}")
    return parsed


def dump(value: object) -> bytes:
    """Write JSON; arrays of numpy are lists, flat."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def _check_values(text: bytes) -> None:
    count = sum(map(text.count, (b",", b"[", b"{")))
    if count > _MOST_VALUES:
        raise RestError(
            413,
            f"the JSON has some {count:,} values, and at most {_MOST_VALUES:,} are read: send fewer rows (the batch "
            "axis) a request, or binary tensors",
        )


def _names_of(value: object) -> int:
    """Count the names in an object and in the objects in it; lists of numbers or of lists hold none."""
    if type(value) is dict:
        count = len(value)
        for each in value.values():
            if type(each) is dict or (type(each) is list and each and type(each[0]) is dict):
                count += _names_of(each)
        return count
    return sum(map(_names_of, value)) if type(value) is list else 0


def _parse_again(text: bytes) -> Any:  # noqa: ANN401 - any JSON
    try:
        parsed = json.loads(text.decode(), object_pairs_hook=_object)
        json.dumps(parsed, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])[1:-1]
        raise bad_request(
            f"the body has {half}, a half of a surrogate pair, which is no Unicode; send bytes that are no text as "
            "binary data"
        ) from None
    except UnicodeDecodeError as error:
        raise bad_request(f"the body is not UTF-8 at byte {error.start:,}; JSON is UTF-8") from None
    except json.JSONDecodeError as error:
        raise bad_request(
            f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}. A body with binary "
            "tensors has the header Inference-Header-Content-Length"
        ) from None
    except RecursionError:
        raise bad_request("the body is JSON that is nested too deeply") from None
    except ValueError as error:  # a number of more than 4,300 digits
        raise bad_request(f"the body is not JSON that can be read: {error}") from None
    return parsed


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise bad_request(f"the name {quoted(twice)} stands twice in one object")
    return made


def _kind_of(value: object) -> str:
    kinds = {list: "list", str: "string", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")
