"""Requests with the same header, joined into one: checked, run and answered together.

Byte for byte equal headers mean equal models, shapes and outputs, so the data of such requests is one array cut into
equal parts. Checks and conversions cost one call of numpy a block, not one a request.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from rnnserve.server.boundary import Array, Inference
from rnnserve.server.headers import Header
from rnnserve.server.responses import RAW_OUTPUT, varint
from rnnserve.server.signature import LENGTHS, TensorSpec

__all__ = ["answers_of", "join_payloads"]


def join_payloads(header: Header, payloads: Sequence[bytes], *, allow_non_finite: bool) -> Inference | None:
    """Join the data of requests with this header into one inference of `len(payloads)` times as many rows.

    Returns:
        The inference, or None where a value of some request is not plainly valid: then each has to pass the boundary on
        its own, which says what is wrong with which, and forgives what padding holds.
    """
    count = len(payloads)
    inputs: dict[str, Array] = {}
    longest = header.sequence
    for spec, start, end in header.data:
        data = payloads[0][start:end] if count == 1 else b"".join([payload[start:end] for payload in payloads])
        array = np.frombuffer(data, spec.dtype)
        if spec.name == LENGTHS:
            longest = int(array.max())
            if longest > header.sequence or int(array.min()) < 1:
                return None
        elif not allow_non_finite and not np.isfinite(array).all():
            return None
        inputs[spec.name] = _side_by_side(array, spec, count, header)
    return Inference(header.batch * count, header.sequence, longest, inputs, header.outputs)


def answers_of(header: Header, count: int, outputs: Mapping[str, Array]) -> Iterator[bytes]:
    """Cut a block's outputs into the responses of its requests."""
    parts: list[list[bytes]] = []
    for name in header.outputs:
        spec = header.served.model.signature.outputs[name]
        data = _one_after_another(outputs[name], spec, count, header).tobytes()
        size = len(data) // count
        tag = RAW_OUTPUT + varint(size)
        parts.append([tag + data[at : at + size] for at in range(0, len(data), size)])
    head = header.head
    if len(parts) == 1:
        return iter([head + part for part in parts[0]])
    return iter([head + b"".join(part) for part in zip(*parts, strict=True)])


def _side_by_side(array: Array, spec: TensorSpec, count: int, header: Header) -> Array:
    """Requests one after another become rows of one batch."""
    joined = spec.shape(header.batch * count, header.sequence)
    if spec.batch_axis == 0:
        return array.reshape(joined)
    each = spec.shape(header.batch, header.sequence)
    return np.moveaxis(array.reshape(count, *each), 0, spec.batch_axis).reshape(joined)


def _one_after_another(array: Array, spec: TensorSpec, count: int, header: Header) -> Array:
    """The rows of one batch become requests one after another."""
    if spec.batch_axis == 0:
        return array
    axis = spec.batch_axis
    apart = array.reshape(*array.shape[:axis], count, header.batch, *array.shape[axis + 1 :])
    return np.moveaxis(apart, axis, 0)
