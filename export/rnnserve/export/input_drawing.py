"""Drawing inputs for a model from the descriptions of its tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.module_interface import Arrays
from rnnserve.export.tensor_shapes import shape_of, size_limits
from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.protocol_words import BATCH

__all__ = ["draw_inputs", "draw_sample", "is_state"]

_STATES = (manifest_pb2.DEFAULT_ZEROS, manifest_pb2.DEFAULT_RECORDED)

_SMALL = 64
"""Integers of a state whose bounds are not known lie below it: positions, counters."""

# By row: usual states; zeros, with which a sequence begins; small ones; ones that saturate tanh.
_STATE_SCALES = np.array([1.0, 0.0, 0.1, 2.0])


def draw_inputs(
    inputs: Sequence[manifest_pb2.Tensor],
    random: np.random.Generator,
    sizes: Mapping[str, int],
    *,
    ragged: bool = False,
    bounded_states: bool = False,
) -> Arrays:
    """Draw every input of a model.

    Floats are within their bounds, else normal; integers are within their bounds. Values after a row's length are like
    the others.

    Args:
        inputs: Inputs, described as in a manifest.
        random: Generator from which values are drawn.
        sizes: Sizes of every dynamic axis, the batch among them.
        ragged: Whether rows have any length that the axis may have, up to its size, and one of them the size; otherwise
            all have it.
        bounded_states: Whether states lie within -1 and 1, where tanh keeps them; otherwise some are larger.
    """
    batch = sizes[BATCH]
    limits_of = size_limits(inputs)
    arrays: Arrays = {}
    for tensor in inputs:
        shape, dtype = shape_of(tensor, sizes), DTYPES[tensor.datatype]
        array: npt.NDArray[Any]
        if tensor.lengths_of:
            size = sizes[tensor.lengths_of]
            array = np.full(batch, size)
            if ragged:
                array = random.integers(limits_of[tensor.lengths_of][0], size, size=batch, endpoint=True)
                array[random.integers(batch)] = size
        elif tensor.datatype == "BOOL":
            array = random.integers(0, 2, size=shape)
        elif dtype.kind in "iu":
            limits = np.iinfo(dtype)
            largest = min(limits.max, _SMALL) if is_state(tensor) else limits.max  # counters count
            low, high = (tensor.integers.low, tensor.integers.high) if tensor.HasField("integers") else (0, largest)
            array = random.integers(low, high, size=shape)
        elif tensor.HasField("floats"):
            array = random.uniform(tensor.floats.low, tensor.floats.high, size=shape)
        elif is_state(tensor):
            array = _draw_state(tensor, random, shape, batch, bounded=bounded_states)
        else:
            array = random.standard_normal(shape)
        arrays[tensor.name] = array.astype(dtype)
    return arrays


def draw_sample(inputs: Sequence[manifest_pb2.Tensor], limits: Mapping[str, tuple[int, int]]) -> Arrays:
    """Draw the inputs that a module is exported with: three rows of five, six, … steps, as far as it takes them."""
    wanted = {axis: 3 if axis == BATCH else 4 + number for number, axis in enumerate(limits)}
    sizes = {axis: min(max(wanted[axis], low), high) for axis, (low, high) in limits.items()}
    return draw_inputs(inputs, np.random.default_rng(0), sizes)


def is_state(tensor: manifest_pb2.Tensor) -> bool:
    """Whether an input is drawn as a state: it may be left out, or could if its default were known."""
    return tensor.default in _STATES or bool(tensor.required_because)


def _draw_state(
    tensor: manifest_pb2.Tensor, random: np.random.Generator, shape: tuple[int, ...], batch: int, *, bounded: bool
) -> npt.NDArray[np.float64]:
    if bounded:
        return random.uniform(-1, 1, size=shape)
    at = next(number for number, axis in enumerate(tensor.axes) if axis.name == BATCH)
    scales = np.resize(_STATE_SCALES, batch).reshape([-1 if number == at else 1 for number in range(len(shape))])
    drawn: npt.NDArray[np.float64] = random.standard_normal(shape) * scales
    return drawn
