"""Reads and writes JSON, and converts lists of elements to little-endian bytes in row-major order and back.

orjson parses 1 MiB of numbers in 5 ms, and the standard library takes 50 ms. If orjson refuses a body, the standard
library parses it, because Python clients write NaN and Infinity. The standard library also parses JSON in which a name
may appear twice, because orjson would silently use the last value.
"""

import contextlib
import itertools
import json
import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson

from rnnserve.protos.datatypes import DTYPES
from rnnserve.web.errors import RestError, bad_request, quoted

__all__ = ["BINARY_ONLY", "MAX_AXES", "dump", "flatten", "parse_object", "read_elements", "read_strings",
           "write_elements", "write_strings"]  # fmt: skip

BINARY_ONLY = frozenset(("FP16", "BF16"))
"""Datatypes without a JSON form. Triton and KServe have the same restriction."""

MAX_AXES = 16
"""Levels of nested lists in a tensor. No tensor has as many axes. Beyond it: 400."""

_MOST_VALUES = 2_000_000
"""Numbers, strings and lists of a JSON body. Each takes up to 88 bytes during parsing. Beyond it: 413."""

_COUNTED_BYTES = 1 << 20
_FORMATS = {
    "BOOL": "?", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "UINT8": "B", "UINT16": "H", "UINT32": "I",
    "UINT64": "Q", "FP32": "f", "FP64": "d",
}  # fmt: skip
_KINDS: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}
"""Python types that an element may have, by NumPy's kind of the datatype."""

_FEW = 64
"""Largest number of elements for which `struct` is faster than NumPy: eight elements take 0.7 instead of 5
microseconds."""


def parse_object(text: bytes | memoryview) -> dict[str, Any]:
    """Parse a JSON object. Raises RestError if the text isn't an object or an object has the same name twice."""
    if len(text) > _COUNTED_BYTES:
        count = sum(map(bytes(text).count, (b",", b"[", b"{")))
        if count > _MOST_VALUES:
            raise RestError(
                413,
                f"the JSON has about {count:,} values; at most {_MOST_VALUES:,} are allowed. Send fewer rows (the "
                "batch axis) per request, or binary tensors",
            )
    try:
        parsed = orjson.loads(text)
        # A colon follows each name. If there are as many colons as names, then no name appears twice.
        if isinstance(parsed, dict) and bytes(text).count(b":") == _count_names(parsed):
            return parsed
    except orjson.JSONDecodeError:
        pass
    parsed = _parse_again(bytes(text))
    if not isinstance(parsed, dict):
        kind = {list: "list", str: "string", bool: "boolean", type(None): "null"}.get(type(parsed), "number")
        raise bad_request(f"the body is a JSON {kind}; expected an object, {{…}}")
    return parsed


def dump(value: object) -> bytes:
    """Write a value as JSON, with NumPy arrays as lists."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def flatten(data: object, name: str) -> tuple[list[Any], tuple[int, ...]]:
    """Return the elements of nested lists in row-major order, and the size of the lists at each level."""
    if not isinstance(data, list):
        raise bad_request(f"input {quoted(name)}: data must be a list of its elements, flat or nested")
    flat, sizes = data, [len(data)]
    while flat and isinstance(flat[0], list):
        if len(sizes) == MAX_AXES:
            raise bad_request(
                f"input {quoted(name)}: data is nested deeper than {MAX_AXES} lists; expected one level for each axis"
            )
        if set(map(type, flat)) != {list} or len(set(map(len, flat))) != 1:
            said = sorted({f"{len(each)} elements" if isinstance(each, list) else "no list" for each in flat})
            raise bad_request(
                f"input {quoted(name)}: data is ragged: the lists at depth {len(sizes)} have "
                f"{' and '.join(said[:3])}. The rows of one request must have equal lengths. Pad the shorter rows, "
                "and send their lengths if the model has an input for lengths"
            )
        sizes.append(len(flat[0]))
        flat = list(itertools.chain.from_iterable(flat))
    return flat, tuple(sizes)


def read_elements(flat: list[Any], datatype: str, name: str) -> bytes:
    """Convert elements of any datatype except BYTES to bytes.

    Integers and bools must fit the datatype exactly, and floats are rounded to it.
    """
    if datatype in BINARY_ONLY:
        raise bad_request(
            f"input {quoted(name)}: JSON cannot represent {datatype}. Send it as binary data, with binary_data_size "
            "and the header Inference-Header-Content-Length"
        )
    dtype = DTYPES[datatype]
    kinds = set(map(type, flat))
    if len(flat) <= _FEW and kinds <= _KINDS[dtype.kind]:
        try:
            return struct.pack(f"<{len(flat)}{_FORMATS[datatype]}", *flat)
        except (OverflowError, struct.error):
            pass  # the code below finds the wrong element
    if datatype == "BOOL":
        if not kinds <= {bool} and not (kinds <= {bool, int} and set(flat) <= {0, 1}):
            raise _wrong(flat, name, datatype, "true or false", lambda value: value is True or value is False)
        return np.array(flat, dtype).tobytes()
    if dtype.kind == "f":
        if not kinds <= {int, float}:
            raise _wrong(flat, name, datatype, "a number", lambda value: type(value) in (int, float))
        most = float(np.finfo(dtype).max)

        def fits(value: float) -> bool:
            return not abs(value) > most or value in (math.inf, -math.inf)

        with np.errstate(over="ignore"), contextlib.suppress(OverflowError):  # of an int beyond FP64
            array = np.array(flat, dtype)
            if np.isfinite(array).all() or all(map(fits, flat)):
                return array.tobytes()
        raise _wrong(flat, name, datatype, f"at most {most:.8g}", fits)
    if not kinds <= {int}:
        raise _wrong(flat, name, datatype, "an integer without a decimal point", lambda value: type(value) is int)
    try:
        return np.array(flat, dtype).tobytes()
    except OverflowError:
        limits = np.iinfo(dtype)
        said = f"{limits.min}..{limits.max}"
        raise _wrong(flat, name, datatype, said, lambda value: limits.min <= value <= limits.max) from None


def read_strings(flat: list[Any], name: str) -> bytes:
    """Convert strings to the elements of a BYTES tensor: for each, its size in four bytes and then its UTF-8."""
    if not set(map(type, flat)) <= {str}:
        raise _wrong(flat, name, "BYTES", "text", lambda value: isinstance(value, str))
    encoded = [text.encode() for text in flat]
    return b"".join(struct.pack("<I", len(element)) + element for element in encoded)


def write_elements(data: bytes, datatype: str, name: str) -> bytes:
    """Write a tensor's bytes as a flat JSON list.

    NaN and infinities have the form that Python, tritonclient and Triton use.
    """
    if datatype in BINARY_ONLY:
        raise bad_request(
            f"output {quoted(name)}: JSON cannot represent {datatype}. Request it with the output's parameter "
            '"binary_data": true'
        )
    array = np.frombuffer(data, DTYPES[datatype])
    written = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    if b"null" in written:  # orjson writes NaN and infinities as null
        return json.dumps([float(str(number)) for number in array]).encode()
    return written


def write_strings(data: bytes, name: str) -> bytes:
    """Write the elements of a BYTES tensor as a JSON list of strings. Raises RestError if one isn't UTF-8."""
    elements, at = [], 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        elements.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    try:
        return orjson.dumps([element.decode() for element in elements])
    except UnicodeDecodeError:
        raise bad_request(
            f"output {quoted(name)} has bytes that are not UTF-8, which JSON cannot represent. Request it with the "
            "output's parameter "
            '"binary_data": true'
        ) from None


def _count_names(parsed: dict[str, Any]) -> int:
    """Count the names in an object and in its nested objects, at the levels where a valid request has objects."""
    count = len(parsed)
    for value in parsed.values():
        if type(value) is dict:
            count += len(value)
        elif type(value) is list and value and type(value[0]) is dict:
            for each in value:
                if type(each) is dict:
                    count += len(each)
                    parameters = each.get("parameters")
                    if type(parameters) is dict:
                        count += len(parameters)
    return count


def _parse_again(text: bytes) -> Any:  # noqa: ANN401 - any JSON
    try:
        parsed = json.loads(text.decode(), object_pairs_hook=_object)
        json.dumps(parsed, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])[1:-1]
        raise bad_request(
            f"the body has {half}, which is half of a surrogate pair and not valid Unicode. Send bytes that are not "
            "text as binary data"
        ) from None
    except UnicodeDecodeError as error:
        raise bad_request(
            f"the body is not JSON, because byte {error.start:,} is not UTF-8. If it has binary tensors, set "
            "the header Inference-Header-Content-Length"
        ) from None
    except json.JSONDecodeError as error:
        raise bad_request(
            f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}. If it has binary "
            "tensors, set the header Inference-Header-Content-Length"
        ) from None
    except RecursionError:
        raise bad_request("the JSON of the body is nested too deeply") from None
    except ValueError as error:  # a number of more than 4,300 digits
        raise bad_request(f"the JSON of the body cannot be read: {error}") from None
    return parsed


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise bad_request(f"the name {quoted(twice)} occurs twice in one object")
    return made


def _wrong(flat: list[Any], name: str, datatype: str, expected: str, is_right: Callable[[Any], bool]) -> RestError:
    """Make the error that shows the first wrong element."""
    at = next((index for index, value in enumerate(flat) if not is_right(value)), 0)
    shown = json.dumps(flat[at])
    shown = shown if len(shown) <= 60 else f"{shown[:60]}…"
    return bad_request(f"input {quoted(name)}: element {at:,} of data is {shown}; expected for {datatype}: {expected}")
