"""From a tensor's data to an array with valid values: raw or typed contents, finite numbers, lengths within bounds."""

import math

import numpy as np

from rnnserve.protos import inference_pb2
from rnnserve.server.boundary.checked_request import Array
from rnnserve.server.boundary.shapes import axis_name
from rnnserve.server.boundary.signature import CONTENTS, LENGTHS, TensorSpec
from rnnserve.server.errors import InvalidRequest

__all__ = ["all_finite", "are_finite", "check_lengths", "read_raw", "read_typed", "with_finite_values"]

_FEW = 64
"""Up to this many numbers, Python's own sum is faster than two calls of numpy: five times as fast for eight."""


def read_raw(data: bytes, spec: TensorSpec, shape: tuple[int, ...], position: int) -> Array:
    """Make an array over the bytes of `raw_input_contents[position]`.

    Raises:
        InvalidRequest: If there are more or fewer bytes than the shape takes.
    """
    expected = math.prod(shape) * spec.dtype.itemsize
    if len(data) != expected:
        raise InvalidRequest(
            f"{_described(spec, shape)} and datatype {spec.datatype} takes {expected} bytes; "
            f"raw_input_contents[{position}] has {len(data)}"
        )
    return np.frombuffer(data, spec.dtype).reshape(shape)


def read_typed(
    tensor: inference_pb2.ModelInferRequest.InferInputTensor, spec: TensorSpec, shape: tuple[int, ...]
) -> Array:
    """Make an array of the elements in `contents`.

    Raises:
        InvalidRequest: If they are in another datatype's field, or more or fewer than the shape takes.
    """
    field = CONTENTS[spec.datatype]
    for other, _ in tensor.contents.ListFields():
        if other.name != field:
            raise InvalidRequest(
                f'input "{spec.name}" comes in {other.name}; datatype {spec.datatype} belongs in {field}'
            )
    values = getattr(tensor.contents, field)
    expected = math.prod(shape)
    if len(values) != expected:
        raise InvalidRequest(f"{_described(spec, shape)} takes {expected} elements; {field} has {len(values)}")
    return np.fromiter(values, spec.dtype, expected).reshape(shape)


def check_lengths(lengths: Array, sequence: int, main: TensorSpec) -> None:
    """Hold every length against the sequence axis.

    Args:
        lengths: (batch) int64.
        sequence: Size of the sequence axis.
        main: The input that has the sequence axis.

    Raises:
        InvalidRequest: If one is not in 1..sequence.
    """
    wrong = np.flatnonzero((lengths < 1) | (lengths > sequence))
    if wrong.size:
        row = int(wrong[0])
        raise InvalidRequest(
            f'input "{LENGTHS}" is {int(lengths[row])} for row {row} of axis 0 (batch): a length lies between 1 and '
            f'{axis_name(main, 1)} of "{main.name}", which is {sequence}'
        )


def with_finite_values(array: Array, spec: TensorSpec, lengths: Array | None) -> Array:
    """Return the array, with zeros where padding is not finite.

    Args:
        array: A float input, of the spec's axes.
        spec: The input.
        lengths: (batch) int64: steps after a row's length are padding; None where every row has full length.

    Raises:
        InvalidRequest: If a value that is not padding is not finite.
    """
    if all_finite(array):
        return array
    finite = np.isfinite(array)
    wrong = ~finite
    if lengths is not None and spec.sequence_axis is not None:
        steps = np.arange(array.shape[spec.sequence_axis])  # (sequence)
        wrong &= (steps < lengths[:, None])[..., None]
    found = np.argwhere(wrong)
    if found.size:
        at = tuple(int(i) for i in found[0])
        where = ", ".join(f"{axis} {i}" for axis, i in zip(spec.axes, at, strict=True))
        raise InvalidRequest(
            f'input "{spec.name}" is {array[at]} at {list(at)} ({where}): numbers must be finite '
            "(--allow-non-finite lets them through)"
        )
    return np.where(finite, array, array.dtype.type(0))


def all_finite(array: Array) -> bool:
    """Whether every number of a float32 array, of any shape, is finite."""
    if array.size <= _FEW:
        return math.isfinite(sum(array.reshape(-1).tolist()))  # in double precision, so few of them cannot overflow
    return b"\0" not in np.isfinite(array).tobytes()  # `all` is a call of numpy more, and by far the slower


def are_finite(data: bytes) -> bool:
    """Whether every number of an FP32 tensor is finite, given as its bytes in the protocol: little-endian.

    NaN, infinity and what exceeds 1.7e38 have a highest byte of 0x7F or 0xFF; few others need a closer look.
    """
    highest = data[3::4]
    return (b"\x7f" not in highest and b"\xff" not in highest) or all_finite(np.frombuffer(data, "<f4"))


def _described(spec: TensorSpec, shape: tuple[int, ...]) -> str:
    return f'input "{spec.name}" of shape {list(shape)} ({", ".join(spec.axes)})'
