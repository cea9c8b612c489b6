"""Inputs drawn from a model's published description: axes, datatypes and bounds."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from rnnserve.client import InvalidRequest, ModelMetadata, TensorMetadata
from rnnserve.client.row_inputs import dtype_of
from rnnserve.client.tensors import Array

__all__ = ["Sizes", "draw_inputs", "draw_sizes"]


class Sizes(Protocol):
    """What sizes are drawn from: `SizeDistribution`, or `EvenSizes`."""

    def draw(self, random: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
        """Draw sizes, (count,) int64."""


def draw_inputs(
    metadata: ModelMetadata, batch: int, lengths: Sizes, random: np.random.Generator
) -> dict[str, list[Array]]:
    """Draw the rows of one request, for every input that must be sent.

    Floats are uniform within their usual bounds, or normal without bounds; integers are uniform within their bounds,
    and 0 or 1 without bounds. Initial states and lengths are left out: they follow from the rows.

    Args:
        metadata: The model's metadata.
        batch: Number of rows.
        lengths: Sizes of each axis that a request chooses. Each row has its own where rows may be padded; otherwise
            all rows of the request have the same.
        random: Source of sizes and values.

    Returns:
        For each input, one array for each row: all axes of the input but the batch.

    Raises:
        InvalidRequest: The metadata do not describe an input well enough.
    """
    drawn = [
        tensor
        for name, tensor in metadata.inputs.items()
        if not tensor.optional and not tensor.lengths_of and name not in metadata.states
    ]
    axes = dict.fromkeys(axis for tensor in drawn for axis, size in _row_axes(metadata, tensor) if size < 0)
    sizes = {axis: draw_sizes(metadata, axis, batch, lengths, random) for axis in axes}
    return {
        tensor.name: [
            _draw_values(
                tensor, tuple(int(sizes[axis][row]) if size < 0 else size for axis, size in tensor.row_axes), random
            )
            for row in range(batch)
        ]
        for tensor in drawn
    }


def draw_sizes(metadata: ModelMetadata, axis: str, batch: int, lengths: Sizes, random: np.random.Generator) -> Array:
    """Draw the sizes (batch,) int64 of an axis: one for each row if rows may be padded along it, else the same.

    Sizes that the model does not take become the nearest that it does.
    """
    limits = [tensor.limits[axis] for tensor in metadata.inputs.values() if axis in tensor.limits]
    drawn = lengths.draw(random, batch) if axis in metadata.padded_axes else np.repeat(lengths.draw(random, 1), batch)
    return np.clip(drawn, *limits[0]) if limits else drawn


def _row_axes(metadata: ModelMetadata, tensor: TensorMetadata) -> tuple[tuple[str, int], ...]:
    """Return a row's axes, all of which must be understood."""
    unknown = [axis for axis, size in tensor.row_axes if size == 0 or (size < 0 and axis.startswith("axis "))]
    if tensor.batch_axis is None or (unknown and not tensor.axes):
        raise InvalidRequest(
            f"model {metadata.name} takes `{tensor.name}` of shape {tensor.shape}: the server does not say what its "
            "axes are, so no rows can be drawn for it; --inputs sends rows from a file"
        )
    return tensor.row_axes


def _draw_values(tensor: TensorMetadata, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    dtype = dtype_of(tensor)
    if dtype.kind == "f":
        if tensor.low is None or tensor.high is None:
            return random.standard_normal(shape).astype(dtype)
        return random.uniform(tensor.low, tensor.high, shape).astype(dtype)
    if dtype.kind == "b" or tensor.high is None:
        return random.integers(0, 2, shape).astype(dtype)
    return np.asarray(random.integers(int(tensor.low or 0), int(tensor.high), shape, dtype=dtype.newbyteorder("=")))
