"""Predictions: one row's part of a response, without batch axis and padding."""

from collections.abc import Mapping, Sequence

import numpy as np

from rnnserve.client.errors import InvalidAnswer
from rnnserve.client.metadata import ModelMetadata, TensorMetadata
from rnnserve.client.row_inputs import RowInputs
from rnnserve.client.tensors import Array

__all__ = ["Prediction", "read_predictions"]


class Prediction(dict[str, Array]):
    """A model's outputs for one row, by name. They have all axes except the batch axis, and the model's dtype.

    If the model takes the lengths of an axis, outputs with this axis are cut to the row's length: `output` (sequence,
    directions * hidden), for example. To continue a sequence, pass its final state, such as `h_n` (layers * directions,
    hidden), as that row of the initial state.

    Attributes:
        model_version: The version that computed the result, or empty if the server does not report it.
    """

    def __init__(self, outputs: Mapping[str, Array], model_version: str) -> None:
        super().__init__(outputs)
        self.model_version = model_version


def read_predictions(
    metadata: ModelMetadata,
    outputs: Mapping[str, Array],
    rows: RowInputs,
    chosen: Sequence[int],
    *,
    requested: Sequence[str],
    model_version: str,
) -> list[Prediction]:
    """Divide a response into one prediction for each row of the request. `chosen` are the indices of these in `rows`.

    `metadata` belongs to the version that computed the response.

    Raises:
        InvalidAnswer: An output is missing, or its shape contradicts the metadata.
    """
    parts = {name: _rows(metadata, name, outputs, rows, chosen) for name in requested}
    return [
        Prediction({name: arrays[index] for name, arrays in parts.items()}, model_version)
        for index in range(len(chosen))
    ]


def _rows(
    metadata: ModelMetadata, name: str, outputs: Mapping[str, Array], rows: RowInputs, chosen: Sequence[int]
) -> list[Array]:
    array, tensor = outputs.get(name), metadata.outputs.get(name)
    if array is None or tensor is None:
        raise InvalidAnswer(
            f'the response lacks output "{name}", which was requested; it has {", ".join(outputs) or "none"}'
        )
    if tensor.batch_axis is None:
        raise InvalidAnswer(
            f"output {name} {list(tensor.shape)} has no batch axis, so it cannot be split into rows; use infer()"
        )
    sizes = _expected_shape(tensor, rows, chosen)
    # If the server names no axes, their names are assumed, so only the sizes in the metadata are checked.
    expected = (
        sizes
        if tensor.axes
        else tuple(len(chosen) if i == tensor.batch_axis else size for i, size in enumerate(tensor.shape))
    )
    fits = array.ndim == len(expected) and all(
        size in (found, -1) for size, found in zip(expected, array.shape, strict=True)
    )
    if not fits:
        raise InvalidAnswer(f"output {name} has shape {array.shape}; expected {expected}, where -1 is any size")
    divided = np.moveaxis(array, tensor.batch_axis, 0)
    padded = [
        axis if found == size else None for axis, found, size in zip(tensor.axis_names, array.shape, sizes, strict=True)
    ]
    del padded[tensor.batch_axis]
    # Copy each row: a state that the caller keeps must not keep its whole batch in memory.
    return [
        np.array(divided[(row, *(slice(ends.get(axis) if axis else None) for axis in padded))])
        for row, index in enumerate(chosen)
        for ends in [rows.ends[index] | tensor.derived_sizes(rows.ends[index])]
    ]


def _expected_shape(tensor: TensorMetadata, rows: RowInputs, chosen: Sequence[int]) -> tuple[int, ...]:
    """Return the expected shape of an output, with -1 for each size that no input determines."""
    expected = []
    for axis, size in zip(tensor.axis_names, tensor.shape, strict=True):
        if axis == tensor.axis_names[tensor.batch_axis or 0]:
            expected.append(len(chosen))
        elif size >= 0:
            expected.append(size)
        else:
            sizes = (rows.sizes[index] | tensor.derived_sizes(rows.sizes[index]) for index in chosen)
            expected.append(max(each.get(axis, -1) for each in sizes))
    return tuple(expected)
