"""Join checked requests into the arrays of one inference call, and split its results again.

Uses no threads and no network: all functions depend only on their arguments.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnnserve.server.errors import WrongOutputSize
from rnnserve.server.validation.signature import Array, Batching, CheckedRequest, Signature, TensorSpec

__all__ = ["check_shapes", "full_lengths", "join", "left_out", "rows_of_run", "split", "split_rows"]


def rows_of_run(signature: Signature, rows: int) -> int:
    """Return the rows of a batch for `rows` rows of requests: padded to an even number if requests may share a batch.

    onnxruntime's kernels use a different code path for a last odd row.
    """
    return rows if signature.batching is Batching.ALONE else rows + (rows & 1)


def join(requests: Sequence[CheckedRequest], signature: Signature) -> dict[str, Array]:
    """Join requests into the input arrays of one inference call, by input name. The arrays are read-only.

    Sequences (batch, sequence, …) are padded to the longest with the spec's filler. If no request sent an input, it is
    filled with zeros or the model's default. If a padding row makes the batch even, its length is the minimum length of
    a row.
    """
    used = sum([request.batch for request in requests])
    rows = rows_of_run(signature, used)
    sizes = {axis: max([request.longest[axis] for request in requests]) for axis in signature.sequence_axes}
    feeds: dict[str, Array] = {}
    for spec in signature.inputs.values():
        shape = spec.shape(rows, sizes)
        if len(requests) == 1 and spec.name in requests[0].inputs and requests[0].inputs[spec.name].shape == shape:
            feeds[spec.name] = requests[0].inputs[spec.name]
        elif spec.lengths_of:
            feeds[spec.name] = _join_lengths(requests, spec, used, rows, sizes[spec.lengths_of])
        elif any(spec.name in request.inputs for request in requests):
            feeds[spec.name] = _join_sent(requests, spec, shape, sizes)
        else:
            feeds[spec.name] = left_out(spec, shape)
    return feeds


def _join_lengths(requests: Sequence[CheckedRequest], spec: TensorSpec, used: int, rows: int, size: int) -> Array:
    """Return the lengths (rows). A request without lengths gets the size of its sequence axis."""
    axis, name = spec.lengths_of, spec.name
    if len(requests) == 1 and name not in requests[0].inputs and rows <= _KEPT_ROWS:
        return full_lengths(spec, requests[0].sizes[axis], used, rows)
    of_requests = [
        request.inputs[name].tolist() if name in request.inputs else [request.sizes[axis]] * request.batch
        for request in requests
    ]
    padding = [min(spec.filler, size)] * (rows - used)
    return np.array([*itertools.chain.from_iterable(of_requests), *padding], spec.dtype)


def _join_sent(
    requests: Sequence[CheckedRequest], spec: TensorSpec, shape: tuple[int, ...], sizes: Mapping[str, int]
) -> Array:
    """Copy an input into the rows of the requests that sent it, and its default into the other rows."""
    if spec.has_plain_rows and max([request.batch for request in requests]) == 1:
        # Joining the bytes of whole rows takes a sixth of the time of numpy indexing.
        name, size = spec.name, math.prod(shape[1:]) * spec.dtype.itemsize
        padding = spec.dtype.type(spec.filler).tobytes() * (size // spec.dtype.itemsize)
        blank = padding if spec.default is None else left_out(spec, (1, *shape[1:])).tobytes()
        rows = [
            (request.inputs[name].tobytes() + padding)[:size] if name in request.inputs else blank
            for request in requests
        ]
        rows += [padding] * (shape[0] - len(rows))
        return np.ndarray(shape, spec.dtype, b"".join(rows))
    array = np.full(shape, spec.filler, spec.dtype) if spec.filler else np.zeros(shape, spec.dtype)
    at = 0
    for request in requests:
        sent = request.inputs.get(spec.name)
        if sent is not None:
            own = {axis: min(request.sizes[axis], sizes[axis]) for axis in spec.sequence_axes}
            array[spec.part(at, at + request.batch, own)] = sent[spec.part(0, request.batch, own)]
        elif spec.default is not None:
            array[spec.part(at, at + request.batch, sizes)] = spec.default
        at += request.batch
    return array


_KEPT_BYTES, _KEPT_ROWS = 1 << 16, 1 << 10
"""Constant arrays up to this size are created once and cached."""


def left_out(spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    """Return zeros or the default for an input that no request sent. The array must not be modified."""
    if spec.default is not None:
        return np.ascontiguousarray(np.broadcast_to(spec.default, shape))
    if math.prod(shape) * spec.dtype.itemsize > _KEPT_BYTES:
        return np.zeros(shape, spec.dtype)
    return _kept_zeros(shape, spec.dtype)


@functools.lru_cache(maxsize=256)
def _kept_zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    zeros = np.zeros(shape, dtype)
    zeros.flags.writeable = False
    return zeros


@functools.lru_cache(maxsize=1024)
def full_lengths(spec: TensorSpec, size: int, used: int, rows: int) -> Array:
    """Return lengths (rows): `used` rows of the sequence axis' size, then padding rows. The array is read-only."""
    lengths: Array = np.full(rows, min(spec.filler, size), spec.dtype)
    lengths[:used] = size
    lengths.flags.writeable = False
    return lengths


def check_shapes(
    names: Sequence[str], results: Sequence[Array], feeds: Mapping[str, Array], signature: Signature
) -> None:
    """Raise WrongOutputSize unless outputs have the signature's shape, or that shape cut to the longest length."""
    main = signature.main
    rows = feeds[main.name].shape[main.batch_axis]
    sizes: dict[str, int] = {}
    for name, result in zip(names, results, strict=True):
        spec = signature.outputs[name]
        if spec.sized_by:
            sizes = sizes or _sizes_of(feeds, signature)
        expected = spec.shape(rows, sizes)
        if result.shape == expected:
            continue
        longest = {axis: int(feeds[each.name].max()) for axis, each in signature.lengths.items()}
        trimmed = {at: longest[axis] for axis, at in spec.sequence_axes.items() if axis in longest}
        if result.shape != tuple(trimmed.get(at, size) for at, size in enumerate(expected)):
            raise _wrong_size(spec, result.shape, expected, _sizes_of(feeds, signature))


def _sizes_of(feeds: Mapping[str, Array], signature: Signature) -> dict[str, int]:
    axes = signature.sequence_axes.items()
    return {axis: feeds[spec.name].shape[spec.sequence_axes[axis]] for axis, spec in axes}


def _wrong_size(
    spec: TensorSpec, found: tuple[int, ...], expected: tuple[int, ...], sizes: Mapping[str, int]
) -> WrongOutputSize:
    steps = ", ".join(f'"{axis}" {size}' for axis, size in sizes.items())
    rules = "".join(f'; its axis "{axis}" is {derived}' for axis, derived in spec.derived.items())
    return WrongOutputSize(
        f'output "{spec.name}" has shape {list(found)} for inputs of {steps}, expected {list(expected)} by the '
        f"version's manifest: {spec}{rules}. The server does not cut or pad outputs to fit. Publish the model "
        "again; until then, this version serves only the sizes for which its manifest is correct"
    )


def split(
    requests: Sequence[CheckedRequest], results: Mapping[str, Array], signature: Signature
) -> list[dict[str, Array]]:
    """Split the results of a batch into each request's outputs, by name. Outputs without padding are views."""
    specs = signature.outputs
    rows_first = {name for name in results if specs[name].batch_axis == 0 and not specs[name].sized_by}
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


def split_rows(request: CheckedRequest, signature: Signature, most_points: int) -> list[CheckedRequest]:
    """Split a request by rows into parts of at most `most_points` rows * steps.

    Every part but the last has an even number of rows, like every batch. A single row is never split, however long it
    is. Each part keeps the request's longest length, so the outputs of all parts have the request's own number of
    steps.
    """
    rows = max(most_points // max(request.steps, 1) // 2 * 2, 2)
    if request.batch <= rows:
        return [request]
    return [
        dataclasses.replace(
            request,
            batch=min(rows, request.batch - start),
            inputs={
                name: np.ascontiguousarray(
                    array[signature.inputs[name].part(start, min(start + rows, request.batch), request.sizes)]
                )
                for name, array in request.inputs.items()
            },
        )
        for start in range(0, request.batch, rows)
    ]


def _rows_of(result: Array, spec: TensorSpec, at: int, request: CheckedRequest) -> Array:
    """Return a request's rows of an output, starting at row `at`, in the request's own shape."""
    part = result[spec.part(at, at + request.batch, request.sizes)]
    shape = spec.shape(request.batch, request.sizes)
    if part.shape == shape:
        return part
    # The request is padded beyond the longest length in the batch. Outputs are zero after the end of a row.
    return np.pad(part, [(0, want - have) for want, have in zip(shape, part.shape, strict=True)])
