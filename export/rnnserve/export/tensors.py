"""Work with a model's tensors as arrays by name: shapes, rows, steps and lengths, and random inputs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.description.publication import DYNAMIC
from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.derived_size import DerivedSize
from rnnserve.protos.protocol_words import BATCH

Arrays = dict[str, npt.NDArray[Any]]
"""Arrays by tensor name, in the order of forward's parameters or results."""

Tensors = Sequence[manifest_pb2.Tensor]

_STATES = (manifest_pb2.DEFAULT_ZEROS, manifest_pb2.DEFAULT_RECORDED)

_SMALL = 64
"""Upper bound for random integers in a state without known bounds, such as positions and counters."""

# By row: ordinary states, zeros as at the start of a sequence, small states, and states that saturate tanh.
_STATE_SCALES = np.array([1.0, 0.0, 0.1, 2.0])


def shape_of(tensor: manifest_pb2.Tensor, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """Compute a tensor's shape from the sizes of the dynamic axes."""
    derived = {axis.name: DerivedSize.of_axis(axis).size(sizes[axis.of]) for axis in tensor.derived_axes}
    sizes = {**sizes, **derived}
    return tuple(sizes[axis.name] if axis.size == DYNAMIC else axis.size for axis in tensor.axes)


def axis_of(tensor: manifest_pb2.Tensor, name: str) -> int | None:
    """Find the position of a dynamic axis by name. None if the tensor has no such axis."""
    return next((at for at, axis in enumerate(tensor.axes) if axis.name == name and axis.size == DYNAMIC), None)


def sequence_axes(inputs: Tensors) -> list[str]:
    """List the dynamic axes except the batch, in the order of their first use in the inputs."""
    names = [axis.name for tensor in inputs for axis in tensor.axes if axis.size == DYNAMIC and axis.name != BATCH]
    return list(dict.fromkeys(names))


def lengths_inputs(inputs: Tensors) -> dict[str, str]:
    """Return the input of lengths for each sequence axis that has lengths."""
    return {tensor.lengths_of: tensor.name for tensor in inputs if tensor.lengths_of}


def size_limits(inputs: Tensors) -> dict[str, tuple[int, int | None]]:
    """Return the smallest and the largest size of each dynamic axis of the inputs. None means no upper limit."""
    return {
        axis.name: (axis.smallest or 1, axis.largest or None)
        for tensor in inputs
        for axis in tensor.axes
        if axis.size == DYNAMIC
    }


def sizes_of(inputs: Tensors, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, int]:
    """Read the sizes of the dynamic axes from the input arrays."""
    return {
        axis.name: arrays[tensor.name].shape[at]
        for tensor in inputs
        for at, axis in enumerate(tensor.axes)
        if axis.size == DYNAMIC and tensor.name in arrays
    }


def sizes_near(limits: Mapping[str, tuple[int, int]], steps: int, rows: int) -> dict[str, int]:
    """Choose sizes near the given numbers of rows and steps, within limits. Sequence axes get different sizes."""
    wanted = {axis: steps + 3 * at for at, axis in enumerate(axis for axis in limits if axis != BATCH)} | {BATCH: rows}
    return {axis: min(max(wanted[axis], low), high) for axis, (low, high) in limits.items()}


def mask_before_lengths(
    tensor: manifest_pb2.Tensor,
    shape: Sequence[int],
    arrays: Mapping[str, npt.NDArray[Any]],
    lengths: Mapping[str, str],
) -> npt.NDArray[np.bool_] | None:
    """Return a mask of the values before each row's length, which broadcasts to `shape`. None if all values count.

    `arrays` are the inputs. A sequence axis of the tensor may be shorter than in the inputs, if the module trims it.
    """
    mask: npt.NDArray[np.bool_] | None = None
    batch = axis_of(tensor, BATCH)
    derived = {axis.name: axis for axis in tensor.derived_axes}
    for at, axis in enumerate(tensor.axes):  # an axis may occur twice: (batch, sequence, sequence)
        how = derived.get(axis.name)
        name = lengths.get(axis.name if how is None else how.of)
        if name is None or batch is None or axis.size != DYNAMIC:
            continue
        steps = np.arange(shape[at]).reshape([-1 if i == at else 1 for i in range(len(shape))])
        ends = arrays[name] if how is None else DerivedSize.of_axis(how).sizes(arrays[name])
        within = steps < ends.reshape([-1 if i == batch else 1 for i in range(len(shape))])  # one length per row
        mask = within if mask is None else mask & within
    return mask


def take_row(tensors: Iterable[manifest_pb2.Tensor], arrays: Mapping[str, npt.NDArray[Any]], row: int) -> Arrays:
    """Cut one row out of arrays by name, as a batch of 1."""
    return {t.name: np.take(arrays[t.name], [row], axis_of(t, BATCH) or 0) for t in tensors if t.name in arrays}


def take_steps(
    inputs: Tensors, arrays: Mapping[str, npt.NDArray[Any]], axis: str, steps: range
) -> dict[str, npt.NDArray[Any]]:
    """Cut some steps out of the inputs with the axis. All lengths become the number of these steps."""
    cut = {}
    for tensor in inputs:
        if (at := axis_of(tensor, axis)) is not None:
            cut[tensor.name] = np.take(arrays[tensor.name], steps, at)
        elif tensor.lengths_of == axis:
            cut[tensor.name] = np.full_like(arrays[tensor.name], len(steps))
    return cut


def stack_rows(inputs: Tensors, rows: Sequence[Arrays], sizes: Mapping[str, int]) -> Arrays:
    """Stack rows (batches of 1) into one batch. Sequence axes are padded with zeros at the end, up to `sizes`.

    Integers with bounds are padded with 0, or with their lowest value if 0 is out of bounds.
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


def draw_inputs(
    inputs: Tensors,
    random: np.random.Generator,
    sizes: Mapping[str, int],
    *,
    ragged: bool = False,
    bounded_states: bool = False,
) -> Arrays:
    """Draw random values for every input of a model, at the given sizes of the dynamic axes.

    Floats and integers stay within their bounds. Floats without bounds are normally distributed. Values after a row's
    length are drawn in the same way. With `ragged`, each row has a random length, and one row has full length. With
    `bounded_states`, states are between -1 and 1, like the results of tanh. Otherwise some states are larger.
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
            largest = min(limits.max, _SMALL) if is_state(tensor) else limits.max  # for counters
            low, high = (tensor.integers.low, tensor.integers.high) if tensor.HasField("integers") else (0, largest)
            array = random.integers(low, high, size=shape)
        elif tensor.HasField("floats"):
            array = random.uniform(tensor.floats.low, tensor.floats.high, size=shape)
        elif is_state(tensor) and bounded_states:
            array = random.uniform(-1, 1, size=shape)
        else:
            array = random.standard_normal(shape)
            if is_state(tensor):
                at = axis_of(tensor, BATCH) or 0
                array *= np.resize(_STATE_SCALES, batch).reshape([-1 if i == at else 1 for i in range(len(shape))])
        arrays[tensor.name] = array.astype(dtype)
    return arrays


def draw_sample(inputs: Tensors, limits: Mapping[str, tuple[int, int]]) -> Arrays:
    """Draw the sample inputs for the export: three rows with five, six, … steps, within the module's limits."""
    wanted = {axis: 3 if axis == BATCH else 4 + number for number, axis in enumerate(limits)}
    sizes = {axis: min(max(wanted[axis], low), high) for axis, (low, high) in limits.items()}
    return draw_inputs(inputs, np.random.default_rng(0), sizes)


def is_state(tensor: manifest_pb2.Tensor) -> bool:
    """Whether an input is drawn as a state: it is optional, or would be if its default were known."""
    return tensor.default in _STATES or bool(tensor.required_because)
