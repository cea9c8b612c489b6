"""How checked requests are joined into the arrays of one run, and how its results are split again.

Every run has an even number of rows, so that the bits of an answer do not depend on the other requests in its batch:
onnxruntime's kernels compute a last odd row along another path than a row of a pair (docs/findings.md, "Even rows").

No threads and no network here: everything is a function of its arguments.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.boundary.signature import LENGTHS, Signature, TensorSpec

__all__ = ["even_rows", "full_lengths", "join", "split", "zeros"]


def even_rows(rows: int) -> int:
    """The rows of a run for this many rows of requests: even, by a row of padding where they are odd."""
    return rows + (rows & 1)


def join(requests: Sequence[CheckedRequest], signature: Signature) -> dict[str, Array]:
    """Join requests into the arrays of one run.

    Returns:
        Every input of the signature, by name: sequences (batch, sequence, …) padded with zeros to the longest,
        `lengths` (batch) int64, states (layers * directions, batch, hidden) that were left out as zeros; batch is even,
        the row of padding after the others has length 1. Read-only.
    """
    used = sum([request.batch for request in requests])
    rows = even_rows(used)
    steps = max([request.longest for request in requests])
    sent = set().union(*[request.inputs for request in requests])
    feeds: dict[str, Array] = {}
    for spec in signature.inputs.values():
        shape = spec.shape(rows, steps)
        if len(requests) == 1 and spec.name in requests[0].inputs and requests[0].inputs[spec.name].shape == shape:
            feeds[spec.name] = requests[0].inputs[spec.name]
        elif spec.name == LENGTHS:
            feeds[spec.name] = _join_lengths(requests, used, rows)
        elif spec.name in sent:
            feeds[spec.name] = _join_sent(requests, spec, shape, steps)
        else:
            feeds[spec.name] = zeros(shape, spec.dtype)
    return feeds


def _join_lengths(requests: Sequence[CheckedRequest], used: int, rows: int) -> Array:
    """Lengths (rows) int64: as sent, or the size of the sequence axis where a request sent none."""
    if len(requests) == 1 and LENGTHS not in requests[0].inputs and rows <= _KEPT_ROWS:
        return full_lengths(requests[0].sequence, used, rows)
    lengths: list[int] = []
    for request in requests:
        sent = request.inputs.get(LENGTHS)  # (batch)
        lengths += [request.sequence] * request.batch if sent is None else sent.tolist()
    lengths += [1] * (rows - used)
    return np.array(lengths, np.int64)


def _join_sent(requests: Sequence[CheckedRequest], spec: TensorSpec, shape: tuple[int, ...], steps: int) -> Array:
    """Copy what requests sent of an input into their rows; the rows of those that sent none stay zeros."""
    array = np.zeros(shape, spec.dtype)
    at = 0
    if spec.batch_axis == 0 and max([request.batch for request in requests]) == 1:
        # Bytes are copied to where the row begins: a quarter of the time that numpy's indexing takes.
        rows = array.data.cast("B")
        name, size = spec.name, array.nbytes // shape[0]
        for request in requests:
            sent = request.inputs.get(name)
            if sent is not None:
                row = sent.data.cast("B")
                if len(row) > size:
                    row = row[:size]
                rows[at : at + len(row)] = row
            at += size
        return array
    for request in requests:
        sent = request.inputs.get(spec.name)
        if sent is not None:
            array[_part(spec, at, request.batch, min(request.sequence, steps))] = _first_steps(sent, spec, steps)
        at += request.batch
    return array


_KEPT_BYTES, _KEPT_ROWS = 1 << 16, 1 << 10
"""Up to which size arrays that never change are made once and kept."""


def zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Zeros of this shape, which must not be written to; small arrays are made once."""
    if math.prod(shape) * dtype.itemsize > _KEPT_BYTES:
        return np.zeros(shape, dtype)
    return _kept_zeros(shape, dtype)


@functools.lru_cache(maxsize=256)
def _kept_zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    zeros = np.zeros(shape, dtype)
    zeros.flags.writeable = False
    return zeros


@functools.lru_cache(maxsize=1024)
def full_lengths(sequence: int, used: int, rows: int) -> Array:
    """Lengths (rows) int64: `used` rows as long as the sequence axis, the others padding of length 1; read-only."""
    lengths = np.ones(rows, np.int64)
    lengths[:used] = sequence
    lengths.flags.writeable = False
    return lengths


def split(
    requests: Sequence[CheckedRequest], results: Mapping[str, Array], signature: Signature
) -> list[dict[str, Array]]:
    """Split the results of a run into what each request asked for, in its own shapes.

    Args:
        requests: In the order in which they were joined.
        results: By output name, the arrays of the run: `logits` (batch, classes), `output` (batch, sequence,
            directions * hidden), states (layers * directions, batch, hidden).
        signature: The model's.

    Returns:
        For each request its outputs by name, in the order asked: views of the results where no padding is added.
    """
    specs = signature.outputs
    rows_first = {name for name in results if specs[name].batch_axis == 0 and specs[name].sequence_axis is None}
    answers: list[dict[str, Array]] = []
    at = 0
    for request in requests:
        end = at + request.batch
        answers.append(
            {
                name: results[name][at:end] if name in rows_first else _rows_of(results[name], specs[name], at, request)
                for name in request.outputs
            }
        )
        at = end
    return answers


def _rows_of(result: Array, spec: TensorSpec, at: int, request: CheckedRequest) -> Array:
    """A request's rows of an output of a run, from row `at` on, in the request's own shape."""
    part = result[_part(spec, at, request.batch, request.sequence)]
    shape = spec.shape(request.batch, request.sequence)
    if part.shape == shape:
        return part
    # The request's own padding is longer than the run was: after every length there are zeros.
    return np.pad(part, [(0, want - have) for want, have in zip(shape, part.shape, strict=True)])


def _part(spec: TensorSpec, at: int, batch: int, steps: int) -> tuple[slice, ...]:
    """Where a request's rows are in a joined array, up to its own steps where there is a sequence axis."""
    index = [slice(None)] * len(spec.axes)
    index[spec.batch_axis] = slice(at, at + batch)
    if spec.sequence_axis is not None:
        index[spec.sequence_axis] = slice(0, steps)
    return tuple(index)


def _first_steps(array: Array, spec: TensorSpec, steps: int) -> Array:
    """The array without the steps after the longest length: padding that the request was sent with."""
    if spec.sequence_axis is None or array.shape[spec.sequence_axis] <= steps:
        return array
    return array[_part(spec, 0, array.shape[spec.batch_axis], steps)]
