"""Builds requests from rows: groups rows into requests, pads their tensors and adds the lengths."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from rnnserve.client.errors import InvalidRequest
from rnnserve.client.metadata import ModelMetadata, TensorMetadata
from rnnserve.client.row_inputs import RowInputs, dtype_of
from rnnserve.client.tensors import Array, add_input
from rnnserve.protos import inference_pb2
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.protocol_words import ALONE

__all__ = ["build_request", "group_rows"]


def group_rows(
    metadata: ModelMetadata, rows: RowInputs, outputs: Sequence[str], *, max_rows: int, max_bytes: int
) -> Iterator[list[int]]:
    """Divide rows into as few requests as the model and the limits allow. Yields the row indices of each request.

    Rows of different sizes share a request only if the model has an input for their lengths and is safe to pad. For an
    unbatched model, each row has its own request. `max_bytes` limits the size of a request and of its response,
    including padding. A single row above this limit is sent alone.
    """
    if metadata.batching == ALONE:
        max_rows = 1
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, sizes in enumerate(rows.sizes):
        fixed = sorted(item for item in sizes.items() if item[0] not in metadata.padded_axes)
        # Omitting an optional input from a request omits it for all of the request's rows.
        left_out = [name for name, indices in rows.left_out.items() if index in indices]
        groups.setdefault((*fixed, *left_out), []).append(index)
    sent = [metadata.inputs[name] for name in rows.tensors]
    answered = [metadata.outputs[name] for name in outputs]
    for group in groups.values():
        request: list[int] = []
        largest: dict[str, int] = {}
        for index in group:
            grown = _largest([largest, rows.sizes[index]])
            size = (len(request) + 1) * max(_bytes_per_row(sent, grown), _bytes_per_row(answered, grown))
            if request and (len(request) == max_rows or size > max_bytes):
                yield request
                request, grown = [], dict(rows.sizes[index])
            request.append(index)
            largest = grown
        yield request


def build_request(
    model: str, version: str, metadata: ModelMetadata, rows: RowInputs, chosen: Sequence[int], outputs: Sequence[str]
) -> inference_pb2.ModelInferRequest:
    """Build the request for the rows with the indices `chosen`: padded tensors, and the length of each row."""
    request = inference_pb2.ModelInferRequest(model_name=model, model_version=version)
    largest = _largest(rows.sizes[index] for index in chosen)
    for name, tensor in metadata.inputs.items():
        if chosen[0] in rows.left_out.get(name, ()):
            continue
        if name in rows.tensors:
            add_input(request, name, _stack(tensor, [rows.tensors[name][index] for index in chosen], largest))
        elif tensor.lengths_of:
            lengths = [rows.ends[index].get(tensor.lengths_of, -1) for index in chosen]
            if not tensor.optional and -1 in lengths:
                raise InvalidRequest(
                    f"model {metadata.name} requires {name}, and no input has the axis {tensor.lengths_of}; pass {name}"
                )
            if not tensor.optional or any(length != largest.get(tensor.lengths_of, -1) for length in lengths):
                add_input(request, name, np.array(lengths).astype(dtype_of(tensor)))
    request.outputs.extend(inference_pb2.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs)
    return request


def _stack(tensor: TensorMetadata, arrays: Sequence[Array], largest: Mapping[str, int]) -> Array:
    """Return a tensor with its batch axis, padded with zeros to the largest size of each axis."""
    names = (axis for axis, _ in tensor.row_axes)
    shape = [largest.get(axis, size) for axis, size in zip(names, arrays[0].shape, strict=True)]
    stacked = np.zeros((len(arrays), *shape), dtype_of(tensor))
    for row, array in enumerate(arrays):
        where: tuple[int | slice, ...] = (row, *(slice(size) for size in array.shape))
        stacked[where] = array
    return np.moveaxis(stacked, 0, tensor.batch_axis or 0)


def _largest(sizes: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the largest size of each axis."""
    largest: dict[str, int] = {}
    for row in sizes:
        for axis, size in row.items():
            largest[axis] = max(size, largest.get(axis, 0))
    return largest


def _bytes_per_row(tensors: Iterable[TensorMetadata], sizes: Mapping[str, int]) -> int:
    """Return the size in bytes of one row of these tensors. Axes of unknown size count as 1."""
    total = 0
    for tensor in tensors:
        dtype = DTYPES.get(tensor.datatype)
        elements = math.prod(size if size >= 0 else sizes.get(axis, 1) for axis, size in tensor.row_axes)
        total += elements * (dtype.itemsize if dtype is not None else 1)
    return total
