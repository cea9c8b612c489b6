"""The rows that a load test sends: from a file, or drawn from a model's metadata."""

from dataclasses import dataclass, field

import numpy as np

from rnnserve.client import InvalidRequest, ModelMetadata, TensorMetadata, UnreadableInput
from rnnserve.client.reading import read_arrays
from rnnserve.client.row_inputs import dtype_of
from rnnserve.client.tensors import Array, as_numbers
from rnnserve.load.draws import EvenSizes

__all__ = ["SampleCase", "draw_inputs", "read_samples"]

_GOLDEN_PARTS = ("inputs", "eager", "float64")
"""The parts of a case in a version's golden.npz, whose names are NUMBER/KIND/PART/NAME."""

_OUTPUT = "output:"
"""Prefix of the outputs' names in the sample files for `rnnserve import`."""


@dataclass(frozen=True)
class SampleCase:
    """The rows of one call, by name with all axes, and the expected outputs if the file contains them."""

    inputs: dict[str, Array] = field(default_factory=dict)
    outputs: dict[str, Array] = field(default_factory=dict)


def read_samples(data: bytes, source: str, metadata: ModelMetadata) -> tuple[SampleCase, ...]:
    """Return the cases of a .npz file.

    Its arrays are named NAME, or CASE/NAME for several cases. NAME is an input or an output of the model. An output may
    also be named output:NAME. A version's golden.npz is such a file.
    """
    cases: dict[str, SampleCase] = {}
    for key, array in read_arrays(data, source).items():
        *case, name = key.split("/")
        part = case.pop() if len(case) == 3 and case[2] in _GOLDEN_PARTS else ""
        if part == "float64":  # more precise than the model's answers
            continue
        found = cases.setdefault("/".join(case), SampleCase())
        is_output, name = name.startswith(_OUTPUT), name.removeprefix(_OUTPUT)
        if name in metadata.inputs and not is_output:
            _check(array, metadata.inputs[name], f"{source}, {key}")
            found.inputs[name] = array
        elif name in metadata.outputs:
            _check(array, metadata.outputs[name], f"{source}, {key}")
            found.outputs[name] = array
        else:
            known = ", ".join([*metadata.inputs, *metadata.outputs])
            raise UnreadableInput(
                f"{source} contains {key!r}, but the tensors of model {metadata.name} are {known}; name each array by "
                "its tensor, NAME or CASE/NAME"
            )
    for label, found in cases.items():
        if not found.inputs:
            raise UnreadableInput(f"{source} contains outputs but no inputs{f' in case {label}' if label else ''}")
    if not cases:
        raise UnreadableInput(f"{source} contains no arrays")
    return tuple(cases.values())


def _check(array: Array, tensor: TensorMetadata, place: str) -> None:
    as_numbers(array, place)
    if array.ndim != len(tensor.shape) or 0 in array.shape:
        raise UnreadableInput(
            f"{place} has shape {array.shape}; expected ({', '.join(tensor.axis_names)}) with sizes of at least 1"
        )


def draw_inputs(
    metadata: ModelMetadata, batch: int, lengths: EvenSizes, random: np.random.Generator
) -> dict[str, list[Array]]:
    """Draw the rows of one request, for every required input. Each row has all axes except the batch axis.

    Floats are uniform within their usual bounds, or normal without bounds. Integers are uniform within their bounds, or
    0 and 1 without bounds. Initial states and lengths are not drawn, because they follow from the rows.
    """
    drawn = [
        tensor
        for name, tensor in metadata.inputs.items()
        if not tensor.optional and not tensor.lengths_of and name not in metadata.states
    ]
    axes = dict.fromkeys(axis for tensor in drawn for axis, size in _row_axes(metadata, tensor) if size < 0)
    sizes = {axis: _draw_sizes(metadata, axis, batch, lengths, random) for axis in axes}
    return {
        tensor.name: [
            _draw_values(
                tensor, tuple(int(sizes[axis][row]) if size < 0 else size for axis, size in tensor.row_axes), random
            )
            for row in range(batch)
        ]
        for tensor in drawn
    }


def _draw_sizes(
    metadata: ModelMetadata, axis: str, batch: int, lengths: EvenSizes, random: np.random.Generator
) -> Array:
    """Draw the sizes (batch,) int64 of an axis: one size per row if rows may be padded along it, else one for all.

    A size outside the model's limits is replaced by the nearest size inside.
    """
    limits = [tensor.limits[axis] for tensor in metadata.inputs.values() if axis in tensor.limits]
    drawn = lengths.draw(random, batch) if axis in metadata.padded_axes else np.repeat(lengths.draw(random, 1), batch)
    return np.clip(drawn, *limits[0]) if limits else drawn


def _row_axes(metadata: ModelMetadata, tensor: TensorMetadata) -> tuple[tuple[str, int], ...]:
    unknown = [axis for axis, size in tensor.row_axes if size == 0 or (size < 0 and axis.startswith("axis "))]
    if tensor.batch_axis is None or (unknown and not tensor.axes):
        raise InvalidRequest(
            f"cannot draw rows for input {tensor.name} {tensor.shape} of model {metadata.name}, because the server "
            "does not describe its axes; send rows from a file with --inputs FILE.npz"
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
