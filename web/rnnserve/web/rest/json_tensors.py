"""A tensor's elements: from the lists of JSON to little-endian bytes in row-major order, and back."""

import itertools
import json
import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from rnnserve.protos.datatypes import DTYPES
from rnnserve.web.errors import RestError, bad_request, quoted

__all__ = [
    "BINARY_ONLY",
    "MAX_AXES",
    "check_json_form",
    "flatten",
    "read_elements",
    "read_strings",
    "write_elements",
    "write_strings",
]

BINARY_ONLY = frozenset(("FP16", "BF16"))
"""Datatypes without a form in JSON, as in Triton and KServe."""

MAX_AXES = 16
"""Lists in one another, of a tensor; none has as many axes. Beyond it: 400."""

_FORMATS = {
    "BOOL": "?", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "UINT8": "B", "UINT16": "H", "UINT32": "I",
    "UINT64": "Q", "FP32": "f", "FP64": "d",
}  # fmt: skip

_KINDS: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}
"""By numpy's kind of a datatype: of which types its elements are in JSON."""

_FEW = 64
"""Elements up to which `struct` is faster than numpy: 0.7 microseconds for eight instead of 5."""

_MOST_FINITE = {"FP32": float(np.finfo("f4").max), "FP64": math.inf}


def flatten(data: object, name: str) -> tuple[list[Any], tuple[int, ...]]:
    """Take lists in lists apart.

    Args:
        data: Value that JSON had.
        name: Name of the tensor, for messages.

    Returns:
        The elements in row-major order, and the sizes of the lists from the outside in; of a flat list, one size.

    Raises:
        RestError: If it is no list, its lists differ in size, or they are nested too deeply.
    """
    if not isinstance(data, list):
        raise bad_request(f"input {quoted(name)}: data is to be a list of its elements, flat or nested")
    flat, sizes = data, [len(data)]
    while flat and isinstance(flat[0], list):
        if len(sizes) == MAX_AXES:
            raise bad_request(f"input {quoted(name)}: data is nested deeper than {MAX_AXES} lists; a list an axis")
        if set(map(type, flat)) != {list} or len(set(map(len, flat))) != 1:
            raise _ragged(flat, sizes, name)
        sizes.append(len(flat[0]))
        flat = list(itertools.chain.from_iterable(flat))
    return flat, tuple(sizes)


def read_elements(flat: list[Any], datatype: str, name: str) -> bytes:
    """Write elements as bytes: each has to be one that the datatype holds exactly, or rounds to.

    Args:
        flat: The elements; not of BYTES.
        datatype: The protocol's name, one of `DTYPES`.
        name: Name of the tensor, for messages.

    Raises:
        RestError: If one is of another kind, or too large.
    """
    if datatype in BINARY_ONLY:
        raise bad_request(
            f"input {quoted(name)}: {datatype} has no form in JSON; send it as binary data, with binary_data_size and "
            "the header Inference-Header-Content-Length"
        )
    dtype = DTYPES[datatype]
    kinds = set(map(type, flat))
    if len(flat) <= _FEW and kinds <= _KINDS[dtype.kind]:
        try:
            return struct.pack(f"<{len(flat)}{_FORMATS[datatype]}", *flat)
        except (OverflowError, struct.error):
            pass  # the way of many says which it is
    if datatype == "BOOL":
        if not kinds <= {bool} and not (kinds <= {bool, int} and set(flat) <= {0, 1}):
            raise _wrong(flat, name, datatype, "true or false", lambda value: value is True or value is False)
        return np.array(flat, dtype).tobytes()
    if dtype.kind == "f":
        if not kinds <= {int, float}:
            raise _wrong(flat, name, datatype, "a number", lambda value: type(value) in (int, float))
        try:
            with np.errstate(over="ignore"):
                return _finite_where_said(flat, np.array(flat, dtype), name, datatype)
        except OverflowError:
            raise _too_large(flat, name, datatype) from None
    if not kinds <= {int}:
        raise _wrong(flat, name, datatype, "a whole number, without a point", lambda value: type(value) is int)
    try:
        return np.array(flat, dtype).tobytes()
    except OverflowError:
        limits = np.iinfo(dtype)
        said = f"{limits.min}..{limits.max}"
        raise _wrong(flat, name, datatype, said, lambda value: limits.min <= value <= limits.max) from None


def read_strings(flat: list[Any], name: str) -> bytes:
    """Write the elements of a BYTES tensor: each one's size in four bytes, and its UTF-8.

    Raises:
        RestError: If one is no text.
    """
    if not set(map(type, flat)) <= {str}:
        raise _wrong(flat, name, "BYTES", "text", lambda value: isinstance(value, str))
    pieces: list[bytes] = []
    for text in flat:
        element = text.encode()
        pieces += struct.pack("<I", len(element)), element
    return b"".join(pieces)


def check_json_form(datatype: str, name: str) -> None:
    """Refuse to write an output that has no form in JSON.

    Raises:
        RestError: If the datatype has none.
    """
    if datatype in BINARY_ONLY:
        raise RestError(
            400,
            f"output {quoted(name)}: {datatype} has no form in JSON; ask for it with the parameter "
            '"binary_data": true of the output',
        )


def write_elements(data: bytes, datatype: str, name: str) -> bytes:
    """Write a tensor's bytes as a flat JSON list. NaN and infinities are as Python, tritonclient and Triton write them.

    Raises:
        RestError: If the datatype has no form in JSON.
    """
    check_json_form(datatype, name)
    array = np.frombuffer(data, DTYPES[datatype])
    written = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)
    if b"null" in written:  # as orjson writes what is not finite
        return json.dumps([float(str(number)) for number in array]).encode()
    return written


def write_strings(data: bytes, name: str) -> bytes:
    """Write the elements of a BYTES tensor as a JSON list of strings.

    Raises:
        RestError: If one is not UTF-8, or the bytes are not such a tensor.
    """
    try:
        return orjson.dumps([element.decode() for element in _elements_of(data)])
    except UnicodeDecodeError:
        raise RestError(
            400,
            f"output {quoted(name)} has bytes that are not UTF-8, and no form in JSON; ask for it with the parameter "
            '"binary_data": true of the output',
        ) from None


def _elements_of(data: bytes) -> list[bytes]:
    elements, at = [], 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        elements.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return elements


def _finite_where_said(flat: list[Any], array: "np.ndarray[Any, Any]", name: str, datatype: str) -> bytes:
    """The bytes, where no number has become infinite that was not."""
    if not np.isfinite(array).all() and any(
        abs(value) > _MOST_FINITE[datatype] and not math.isinf(value) for value in flat
    ):
        raise _too_large(flat, name, datatype)
    return array.tobytes()


def _too_large(flat: list[Any], name: str, datatype: str) -> RestError:
    most = _MOST_FINITE[datatype]

    def fits(value: float) -> bool:
        try:
            return not abs(float(value)) > most or math.isinf(value)
        except OverflowError:
            return False

    return _wrong(flat, name, datatype, f"at most {np.finfo(DTYPES[datatype]).max:.8g}", fits)


def _wrong(flat: list[Any], name: str, datatype: str, expected: str, is_right: Any) -> RestError:  # noqa: ANN401
    """Say which element is the first wrong one."""
    at = next((index for index, value in enumerate(flat) if not is_right(value)), 0)
    shown = json.dumps(flat[at])
    shown = shown if len(shown) <= 60 else f"{shown[:60]}…"
    return bad_request(
        f"input {quoted(name)}: element {at:,} of data is {shown}; an element of {datatype} is {expected}"
    )


def _ragged(flat: Sequence[Any], sizes: Sequence[int], name: str) -> RestError:
    depth = len(sizes)
    said = sorted({f"{len(each)} elements" if isinstance(each, list) else "no list" for each in flat})
    return bad_request(
        f"input {quoted(name)}: data is ragged: the lists at depth {depth} have {' and '.join(said[:3])}; rows of one "
        "request are equally long: pad the shorter ones, and send their lengths where the model takes lengths"
    )
