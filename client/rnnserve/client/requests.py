"""Sequences into requests: which share one, padded with `lengths` beside them."""

from collections.abc import Iterator, Sequence

import numpy as np

from rnnserve.client.metadata import ModelMetadata
from rnnserve.client.sequences import dtype_of
from rnnserve.client.tensors import Array, add_input
from rnnserve.protos import inference_pb2

__all__ = ["classify_request", "split"]


def split(
    lengths: Sequence[int], *, bytes_per_point: int, bytes_per_row: int, max_rows: int, max_bytes: int, ragged: bool
) -> Iterator[range]:
    """Cut sequences into runs of neighbours that share a request, as few as the bounds allow.

    Args:
        lengths: Points of each sequence.
        bytes_per_point: What a point takes, padding included, in the request or in its answer.
        bytes_per_row: What a sequence's states take.
        max_rows: Sequences of one request.
        max_bytes: Padded bytes of one request or answer; a sequence that is larger alone is sent alone.
        ragged: Whether sequences of different lengths may share a request.

    Yields:
        The indices of each request's sequences, in order and without gaps.
    """
    start, longest = 0, 0
    for index, length in enumerate(lengths):
        rows, grown = index - start + 1, max(longest, length)
        size = rows * (grown * bytes_per_point + bytes_per_row)
        fits = rows <= max_rows and size <= max_bytes and (ragged or longest in (0, length))
        if index > start and not fits:
            yield range(start, index)
            start, grown = index, length
        longest = grown
    if start < len(lengths):
        yield range(start, len(lengths))


def classify_request(
    model: str,
    version: str,
    metadata: ModelMetadata,
    arrays: Sequence[Array],
    states: dict[str, Array],
    outputs: Sequence[str],
) -> inference_pb2.ModelInferRequest:
    """Build one request.

    Args:
        model: Its name.
        version: Its version, empty for the one that the server prefers.
        metadata: What it takes.
        arrays: The request's sequences, each (length, features).
        states: `h_0`, `c_0`: each (layers * directions, batch, hidden); may be empty.
        outputs: Names of those wanted.
    """
    lengths = np.array([len(array) for array in arrays])
    tensor = metadata.inputs["input"]
    padded = np.zeros((len(arrays), lengths.max(), arrays[0].shape[1]), dtype_of(tensor))
    # Numbers beyond the model's dtype become infinite, and the server says which.
    with np.errstate(over="ignore"):
        for row, array in zip(padded, arrays, strict=True):
            row[: len(array)] = array
    request = inference_pb2.ModelInferRequest(model_name=model, model_version=version)
    add_input(request, "input", padded)
    lengths_tensor = metadata.inputs.get("lengths")
    if lengths_tensor is not None and (not lengths_tensor.optional or lengths.min() < lengths.max()):
        add_input(request, "lengths", lengths.astype(dtype_of(lengths_tensor)))
    for name, state in states.items():
        add_input(request, name, state)
    request.outputs.extend(inference_pb2.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs)
    return request
