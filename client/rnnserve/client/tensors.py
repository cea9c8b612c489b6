"""Conversion between numpy arrays and the protocol's tensors."""

import math
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.client.errors import InvalidAnswer, InvalidRequest
from rnnserve.protos import inference_pb2
from rnnserve.protos.datatypes import CONTENTS, DTYPES

__all__ = ["Array", "add_input", "as_array", "read_outputs"]

Array = npt.NDArray[Any]

_DATATYPES = {dtype.newbyteorder("="): datatype for datatype, dtype in DTYPES.items()}

_TYPED_FIELDS = {**CONTENTS, "BYTES": "bytes_contents"}


def as_array(value: npt.ArrayLike, what: str) -> Array:
    """Return `value` as an array. Raises InvalidRequest, with the name `what`, if it is ragged."""
    try:
        return np.asarray(value)
    except ValueError as error:
        raise InvalidRequest(f"{what} is ragged: its parts have different sizes ({error})") from error


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
        raise InvalidRequest(f"{name} has dtype {array.dtype}, for which the protocol has no datatype")
    request.inputs.add(name=name, datatype=datatype, shape=array.shape)
    request.raw_input_contents.append(raw)


def read_outputs(response: inference_pb2.ModelInferResponse) -> dict[str, Array]:
    """Return a response's tensors by name, from raw or typed contents.

    Raises InvalidAnswer if contents are missing, or if they contradict the shape or the datatype.
    """
    raw = response.raw_output_contents
    if raw and len(raw) != len(response.outputs):
        raise InvalidAnswer(f"the answer has {len(response.outputs)} outputs but {len(raw)} raw_output_contents")
    outputs: dict[str, Array] = {}
    for index, output in enumerate(response.outputs):
        flat = _from_raw(output, raw[index]) if raw else _from_typed(output)
        shape = tuple(output.shape)
        if any(size < 0 for size in shape) or flat.size != math.prod(shape):
            raise InvalidAnswer(f"output {output.name} has {flat.size} elements, which do not make its shape {shape}")
        outputs[output.name] = flat.reshape(shape)
    return outputs


def _from_raw(output: inference_pb2.ModelInferResponse.InferOutputTensor, raw: bytes) -> Array:
    if output.datatype == "BYTES":
        return _objects(_split_length_prefixed(raw, output.name))
    dtype = _dtype(output)
    if len(raw) % dtype.itemsize:
        raise InvalidAnswer(
            f"output {output.name}: {len(raw)} bytes are not a whole number of {output.datatype} elements"
        )
    # Copy into the machine's byte order, so that callers can write to the array and the message can be freed.
    return np.frombuffer(raw, dtype=dtype).astype(dtype.newbyteorder("="))


def _from_typed(output: inference_pb2.ModelInferResponse.InferOutputTensor) -> Array:
    field = _TYPED_FIELDS.get(output.datatype)
    if field is None:
        raise InvalidAnswer(f"output {output.name}: datatype {output.datatype!r} has no typed contents to read")
    values = list(getattr(output.contents, field))
    if output.datatype == "BYTES":
        return _objects(values)
    try:
        return np.array(values, dtype=_dtype(output).newbyteorder("="))
    except OverflowError as error:
        raise InvalidAnswer(f"output {output.name}: {field} holds values outside {output.datatype}") from error


def _dtype(output: inference_pb2.ModelInferResponse.InferOutputTensor) -> np.dtype[Any]:
    dtype = DTYPES.get(output.datatype)
    if dtype is None:
        raise InvalidAnswer(f"output {output.name}: numpy has no dtype for the datatype {output.datatype!r}")
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
            f"{name} is an array of objects that are neither text nor bytes (one is a {type(element).__name__}): "
            "numpy makes such arrays of parts with different sizes. A tensor has one size along each axis"
        )
    return struct.pack("<I", len(element)) + element


def _split_length_prefixed(raw: bytes, name: str) -> list[bytes]:
    elements, offset = [], 0
    while offset < len(raw):
        start = offset + 4
        size = int.from_bytes(raw[offset:start], "little")
        offset = start + size
        if offset > len(raw):
            raise InvalidAnswer(f"output {name}: a BYTES element ends after the end of the contents")
        elements.append(raw[start:offset])
    return elements
