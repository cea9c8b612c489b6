"""Requests from sequences: which sequences share a request, and the padded tensors with their `lengths`."""

from collections.abc import Iterator, Sequence

import numpy as np

from rnnserve.client.input_checks import dtype_of
from rnnserve.client.metadata import ModelMetadata
from rnnserve.client.tensors import Array, add_input
from rnnserve.protos import inference_pb2

__all__ = ["build_classify_request", "split_into_requests"]


def split_into_requests(
    lengths: Sequence[int], *, bytes_per_point: int, bytes_per_row: int, max_rows: int, max_bytes: int, ragged: bool
) -> Iterator[range]:
    """Split a list of sequences into consecutive groups, one per request, as few as the limits allow.

    Args:
        lengths: Number of points of each sequence.
        bytes_per_point: Size of one point, padding included, in the request or in its answer, whichever is larger.
        bytes_per_row: Size of one sequence's states.
        max_rows: Largest number of sequences in one request.
        max_bytes: Largest size of one request or answer, with padding; a larger single sequence is sent alone.
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


def build_classify_request(
    model: str,
    version: str,
    metadata: ModelMetadata,
    arrays: Sequence[Array],
    states: dict[str, Array],
    outputs: Sequence[str],
) -> inference_pb2.ModelInferRequest:
    """Build one request; its `input` is padded with zeros after each row's length.

    Args:
        model: The model's name.
        version: The model's version; empty for the server's choice.
        metadata: The model's metadata.
        arrays: One array (length, features) of real numbers per sequence.
        states: Initial states `h_0` and `c_0`, each (layers * directions, batch, hidden), in the model's dtype; may be
            empty.
        outputs: Names of the requested outputs.
    """
    lengths = np.array([len(array) for array in arrays])  # (batch,)
    tensor = metadata.inputs["input"]
    # (batch, sequence, features)
    padded = np.zeros((len(arrays), lengths.max(), arrays[0].shape[1]), dtype_of(tensor))
    # Numbers outside the range of the model's dtype become infinite; the server reports which.
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
