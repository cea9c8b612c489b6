"""Requests with the same header, joined into one: checked, run and answered together.

Byte for byte equal headers mean equal models, shapes and outputs, so the data of such requests is one array cut into
equal parts. Checks and conversions cost one call of numpy a block, not one a request.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from rnnserve.server.boundary import Array, Inference
from rnnserve.server.headers import Header, Known
from rnnserve.server.responses import RAW_OUTPUT, varint
from rnnserve.server.signature import LENGTHS, TensorSpec

__all__ = ["answers_of", "join_known"]


def join_known(header: Header, members: Sequence[Known], *, allow_non_finite: bool) -> Inference | None:
    """Join the data of requests with this header into one inference of `len(members)` times as many rows.

    Returns:
        The inference, or None where a value of some request is not plainly valid: then each has to pass the boundary on
        its own, which says what is wrong with which, and forgives what padding holds.
    """
    count = len(members)
    inputs: dict[str, Array] = {}
    longest = header.sequence
    for spec, start, end in header.data:
        parts = [known.payload[start + len(known.id_field) : end + len(known.id_field)] for known in members]
        array = np.frombuffer(parts[0] if count == 1 else b"".join(parts), spec.dtype)
        if spec.name == LENGTHS:
            longest = int(array.max())
            if longest > header.sequence or int(array.min()) < 1:
                return None
        elif not allow_non_finite and not np.isfinite(array).all():
            return None
        inputs[spec.name] = _side_by_side(array, spec, count, header)
    return Inference(header.batch * count, header.sequence, longest, inputs, header.outputs)


def answers_of(header: Header, members: Sequence[Known], outputs: Mapping[str, Array]) -> list[bytes]:
    """Cut a block's outputs into the responses of its requests."""
    count = len(members)
    parts: list[list[bytes]] = []
    for name in header.outputs:
        spec = header.served.model.signature.outputs[name]
        whole = _one_after_another(outputs[name], spec, count, header).tobytes()
        size = len(whole) // count
        tag = RAW_OUTPUT + varint(size)
        parts.append([tag + whole[at : at + size] for at in range(0, len(whole), size)])
    before, behind = header.head
    data = parts[0] if len(parts) == 1 else [b"".join(part) for part in zip(*parts, strict=True)]
    return [before + known.id_field + behind + part for known, part in zip(members, data, strict=True)]


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
