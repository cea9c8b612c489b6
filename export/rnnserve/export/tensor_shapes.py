"""Shapes of a model's tensors at given sizes, and which values of a tensor lie before its rows' lengths."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.description.input_descriptions import DYNAMIC
from rnnserve.export.module_interface import Arrays
from rnnserve.protos import manifest_pb2
from rnnserve.protos.derived_size import DerivedSize
from rnnserve.protos.protocol_words import BATCH

__all__ = [
    "axis_of",
    "lengths_inputs",
    "mask_before_lengths",
    "sequence_axes",
    "shape_of",
    "size_limits",
    "sizes_of",
    "stack_rows",
    "take_row",
    "take_steps",
]

Tensors = Sequence[manifest_pb2.Tensor]


def shape_of(tensor: manifest_pb2.Tensor, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """Give a tensor's shape, with the sizes of the inputs' dynamic axes by name."""
    derived = {axis.name: DerivedSize.of_axis(axis).size(sizes[axis.of]) for axis in tensor.derived_axes}
    sizes = {**sizes, **derived}
    return tuple(sizes[axis.name] if axis.size == DYNAMIC else axis.size for axis in tensor.axes)


def axis_of(tensor: manifest_pb2.Tensor, name: str) -> int | None:
    """Give the position of a dynamic axis; None where the tensor has none of the name."""
    return next((at for at, axis in enumerate(tensor.axes) if axis.name == name and axis.size == DYNAMIC), None)


def sequence_axes(inputs: Tensors) -> list[str]:
    """Name the dynamic axes but the batch, in the order in which the inputs have them first."""
    names = [axis.name for tensor in inputs for axis in tensor.axes if axis.size == DYNAMIC and axis.name != BATCH]
    return list(dict.fromkeys(names))


def lengths_inputs(inputs: Tensors) -> dict[str, str]:
    """Give the input that holds the lengths of each sequence axis, for the axes that have one."""
    return {tensor.lengths_of: tensor.name for tensor in inputs if tensor.lengths_of}


def size_limits(inputs: Tensors) -> dict[str, tuple[int, int | None]]:
    """Give the smallest and the largest size of the dynamic axes of inputs; None for no largest."""
    return {
        axis.name: (axis.smallest or 1, axis.largest or None)
        for tensor in inputs
        for axis in tensor.axes
        if axis.size == DYNAMIC
    }


def sizes_of(inputs: Tensors, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, int]:
    """Read the sizes of the dynamic axes from arrays of the inputs."""
    return {
        axis.name: arrays[tensor.name].shape[at]
        for tensor in inputs
        for at, axis in enumerate(tensor.axes)
        if axis.size == DYNAMIC and tensor.name in arrays
    }


def mask_before_lengths(
    tensor: manifest_pb2.Tensor,
    shape: Sequence[int],
    arrays: Mapping[str, npt.NDArray[Any]],
    lengths: Mapping[str, str],
) -> npt.NDArray[np.bool_] | None:
    """Tell which values of a tensor lie before the ends of their rows, in an array that broadcasts to its shape.

    None if the tensor has no axis with lengths: all values count. A sequence axis may be shorter than in the inputs,
    which are the arrays, where a module trims it.
    """
    mask: npt.NDArray[np.bool_] | None = None
    batch = axis_of(tensor, BATCH)
    derived = {axis.name: axis for axis in tensor.derived_axes}
    for at, axis in enumerate(tensor.axes):  # one may be there twice: (batch, sequence, sequence)
        how = derived.get(axis.name)
        name = lengths.get(axis.name if how is None else how.of)
        if name is None or batch is None or axis.size != DYNAMIC:
            continue
        steps = np.arange(shape[at]).reshape([-1 if i == at else 1 for i in range(len(shape))])
        ends = arrays[name] if how is None else DerivedSize.of_axis(how).sizes(arrays[name])
        within = steps < ends.reshape([-1 if i == batch else 1 for i in range(len(shape))])  # a row's length each
        mask = within if mask is None else mask & within
    return mask


def take_row(tensors: Iterable[manifest_pb2.Tensor], arrays: Mapping[str, npt.NDArray[Any]], row: int) -> Arrays:
    """Cut one row out of arrays by name: batch 1."""
    return {t.name: np.take(arrays[t.name], [row], axis_of(t, BATCH) or 0) for t in tensors if t.name in arrays}


def take_steps(
    inputs: Tensors, arrays: Mapping[str, npt.NDArray[Any]], axis: str, steps: range
) -> dict[str, npt.NDArray[Any]]:
    """Cut some steps out of the inputs that have them; lengths become all of these."""
    cut = {}
    for tensor in inputs:
        if (at := axis_of(tensor, axis)) is not None:
            cut[tensor.name] = np.take(arrays[tensor.name], steps, at)
        elif tensor.lengths_of == axis:
            cut[tensor.name] = np.full_like(arrays[tensor.name], len(steps))
    return cut


def stack_rows(inputs: Tensors, rows: Sequence[Arrays], sizes: Mapping[str, int]) -> Arrays:
    """Put rows of batch 1 into one batch, sequence axes padded with zeros at their ends to `sizes`.

    Integers with bounds are padded with 0, or with their lowest value where 0 is out of bounds.
    """
    stacked: Arrays = {}
    for tensor in inputs:
        parts = []
        for row in rows:
            array = row[tensor.name]
            wanted = shape_of(tensor, {**sizes, BATCH: 1})
            fill = tensor.integers.low if tensor.HasField("integers") and tensor.integers.low > 0 else 0
            pads = [(0, want - have) for want, have in zip(wanted, array.shape, strict=True)]
            parts.append(np.pad(array, pads, constant_values=fill))
        stacked[tensor.name] = np.concatenate(parts, axis_of(tensor, BATCH) or 0)
    return stacked
