"""Turn a caller's values into arrays, cast them, and convert between arrays and the protocol's tensors."""

import math
import reprlib
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.client.errors import InvalidAnswer, InvalidRequest
from rnnserve.protos import inference_pb2
from rnnserve.protos.datatypes import CONTENTS, DTYPES

__all__ = ["Array", "add_input", "as_array", "as_numbers", "cast_losslessly", "read_outputs"]

Array = npt.NDArray[Any]

_DATATYPES = {dtype.newbyteorder("="): datatype for datatype, dtype in DTYPES.items()}

_MOST_LEVELS = 32

_TYPED_FIELDS = {**CONTENTS, "BYTES": "bytes_contents"}


def as_array(value: npt.ArrayLike, what: str) -> Array:
    """Return `value` as an array. Raises InvalidRequest, with the name `what` and the place, if it is ragged."""
    try:
        return np.asarray(value)
    except ValueError as error:
        raise InvalidRequest(f"{what} {_find_fault(value) or f'is not an array: {error}'}") from error


def as_numbers(value: npt.ArrayLike, what: str) -> Array:
    """Return `value` as an array of real numbers or booleans. Raises InvalidRequest, with the place of the mistake."""
    array = as_array(value, what)
    if array.dtype.kind in "biuf":
        return array
    raise InvalidRequest(f"{what} {_find_fault(value) or f'has dtype {array.dtype}'}; expected real numbers")


def cast_losslessly(array: Array, dtype: np.dtype[Any], what: str) -> Array:
    """Return an array of numbers in the model's dtype, with equal values. `what` is the array's name in errors.

    Only floats may be rounded, to floats of fewer digits: Python has no float32, so a list of floats could not be sent
    otherwise. Anything else that would change a value raises InvalidRequest: a fraction as an integer, a number outside
    the dtype's range, an integer that a float cannot represent, or a number other than 0 and 1 as a boolean.
    """
    # numpy considers integers to floats a safe cast, but float64 cannot represent every int64.
    is_rounded = array.dtype.kind in "iu" and dtype.kind == "f"
    if array.dtype == dtype or (not is_rounded and np.can_cast(array.dtype, dtype, "safe")):
        return array.astype(dtype, copy=False)
    with np.errstate(all="ignore"):  # the checks below find what these warnings would report
        cast = array.astype(dtype)
        if array.dtype.kind == "f" and dtype.kind == "f":
            changed = np.isfinite(array) & ~np.isfinite(cast)
        else:
            changed = ~_equal(array, cast)
    if changed.any():
        index = np.unravel_index(int(changed.argmax()), array.shape)
        place = f" at {[int(position) for position in index]}" if array.ndim else ""
        raise InvalidRequest(
            f"{what} is {array[index].item()!r}{place}, but the model takes {dtype.name}, which cannot represent it"
        )
    return cast


def _equal(array: Array, cast: Array) -> npt.NDArray[np.bool_]:
    """Compare values exactly, even beyond the range in which floats represent every integer."""
    if {array.dtype.kind, cast.dtype.kind} <= set("iu"):
        return np.asarray((array == cast) & ((array < 0) == (cast < 0)))
    same = np.asarray(cast.astype(array.dtype) == array)
    # Some processors cast a float above the largest integer to that integer, and a float below the smallest, such as
    # -infinity, to the smallest. Cast back to a float, it would seem equal.
    for floats, integers in ((array, cast), (cast, array)):
        if floats.dtype.kind == "f" and integers.dtype.kind in "iu":
            limits, doubles = np.iinfo(integers.dtype), floats.astype(np.float64)
            same &= (doubles >= float(limits.min)) & (doubles < float(limits.max) + 1)
    return same


def _find_fault(value: Any, place: tuple[int, ...] = ()) -> str:  # noqa: ANN401 - whatever a caller or a file contains
    """Return the first mistake in nested lists of numbers with its place, or an empty text if there is none."""
    at = f" at {list(place)}" if place else ""
    if hasattr(value, "__array__"):
        value = np.asarray(value)
        if value.dtype != object:
            return "" if value.dtype.kind in "biuf" else f"has dtype {value.dtype}{at}"
        value = value.tolist()
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return f"holds an integer of more than 64 bits{at}"
    if not isinstance(value, list | tuple):
        return "" if isinstance(value, int | float) else f"holds {reprlib.repr(value)}{at}"
    if len(place) == _MOST_LEVELS:
        return f"has more than {_MOST_LEVELS} levels of lists"
    for index, part in enumerate(value):
        fault = _find_fault(part, (*place, index))
        if fault:
            return fault
        if _length(part) != _length(value[0]):
            first = [*place, 0]
            return f"is ragged: it has {_length(part)} at {[*place, index]}, but {_length(value[0])} at {first}"
    return ""


def _length(value: Any) -> str:  # noqa: ANN401 - a number, a list, or an array
    if not (isinstance(value, list | tuple) or np.ndim(value)):
        return "a number"
    return f"{len(value)} element{'' if len(value) == 1 else 's'}"


def add_input(request: inference_pb2.ModelInferRequest, name: str, value: npt.ArrayLike) -> None:
    """Append a tensor with raw contents to a request.

    The dtype determines the datatype. Text and bytes become BYTES. Raises InvalidRequest if no datatype matches.
    """
    array = as_array(value, name)
    datatype = _DATATYPES.get(array.dtype.newbyteorder("="))
    if datatype is not None:
        raw = np.ascontiguousarray(array, dtype=DTYPES[datatype]).tobytes()
    elif array.dtype.kind in "OSU":
        datatype, raw = "BYTES", b"".join(_length_prefixed(element, name) for element in array.ravel().tolist())
    else:
        raise InvalidRequest(
            f"{name} has dtype {array.dtype}, which the protocol cannot represent; convert it, for example to float32"
        )
    request.inputs.add(name=name, datatype=datatype, shape=array.shape)
    request.raw_input_contents.append(raw)


def read_outputs(response: inference_pb2.ModelInferResponse) -> dict[str, Array]:
    """Return a response's tensors by name, from raw or typed contents.

    Raises InvalidAnswer if contents are missing, or if they contradict the shape or the datatype.
    """
    raw = response.raw_output_contents
    if raw and len(raw) != len(response.outputs):
        raise InvalidAnswer(f"the response has {len(response.outputs)} outputs but {len(raw)} raw_output_contents")
    outputs: dict[str, Array] = {}
    for index, output in enumerate(response.outputs):
        flat = _from_raw(output, raw[index]) if raw else _from_typed(output)
        shape = tuple(output.shape)
        if any(size < 0 for size in shape) or flat.size != math.prod(shape):
            raise InvalidAnswer(f"output {output.name} has {flat.size} elements, but shape {shape}")
        outputs[output.name] = flat.reshape(shape)
    return outputs


def _from_raw(output: inference_pb2.ModelInferResponse.InferOutputTensor, raw: bytes) -> Array:
    if output.datatype == "BYTES":
        return _objects(_split_length_prefixed(raw, output.name))
    dtype = _dtype(output)
    if len(raw) % dtype.itemsize:
        raise InvalidAnswer(
            f"output {output.name} has {len(raw)} bytes, which is not a multiple of the size of {output.datatype}"
        )
    # Copy into the machine's byte order, so that callers can write to the array and the message can be freed.
    return np.frombuffer(raw, dtype=dtype).astype(dtype.newbyteorder("="))


def _from_typed(output: inference_pb2.ModelInferResponse.InferOutputTensor) -> Array:
    field = _TYPED_FIELDS.get(output.datatype)
    if field is None:
        raise InvalidAnswer(
            f"output {output.name} has no raw contents, and the protocol has no typed contents for {output.datatype!r}"
        )
    values = list(getattr(output.contents, field))
    if output.datatype == "BYTES":
        return _objects(values)
    try:
        return np.array(values, dtype=_dtype(output).newbyteorder("="))
    except OverflowError as error:
        raise InvalidAnswer(
            f"output {output.name} has values in {field} that are outside the range of {output.datatype}"
        ) from error


def _dtype(output: inference_pb2.ModelInferResponse.InferOutputTensor) -> np.dtype[Any]:
    dtype = DTYPES.get(output.datatype)
    if dtype is None:
        raise InvalidAnswer(f"output {output.name} has datatype {output.datatype!r}, for which numpy has no dtype")
    return dtype


def _objects(values: list[bytes]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _length_prefixed(element: object, name: str) -> bytes:
    if isinstance(element, str):
        element = element.encode()
    if not isinstance(element, bytes):
        raise InvalidRequest(
            f"{name} is an array of objects ({type(element).__name__}); expected numbers, text or bytes, with one size "
            "along each axis"
        )
    return struct.pack("<I", len(element)) + element


def _split_length_prefixed(raw: bytes, name: str) -> list[bytes]:
    elements, offset = [], 0
    while offset < len(raw):
        start = offset + 4
        size = int.from_bytes(raw[offset:start], "little")
        offset = start + size
        if offset > len(raw):
            raise InvalidAnswer(f"output {name} has a BYTES element that ends after the end of the contents")
        elements.append(raw[start:offset])
    return elements
