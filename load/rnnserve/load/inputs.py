"""The rows that a load test sends: from a file, drawn from a model's metadata, or walks with a known direction."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rnnserve.client import InvalidRequest, ModelMetadata, TensorMetadata, UnreadableInput
from rnnserve.client.casting import check_numbers
from rnnserve.client.reading import read_arrays
from rnnserve.client.row_inputs import dtype_of
from rnnserve.client.tensors import Array
from rnnserve.load.draws import EvenSizes

__all__ = [
    "UNKNOWN_CLASS",
    "WALK_LABELS",
    "SampleCase",
    "classifies_walks",
    "draw_inputs",
    "draw_labelled_walks",
    "draw_sizes",
    "read_samples",
]

WALK_LABELS = ("counter-clockwise", "clockwise")
"""Labels by class. A model with these labels and two features is a direction classifier."""

UNKNOWN_CLASS = -1
"""The class of walks of one point, which have no direction."""

_CORNERS = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]])  # (corner, features=2), clockwise
_NOISE = 0.1

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
                f"{source}: holds {key!r}, but the tensors of model {metadata.name} are {known}. Expected arrays "
                "called NAME, or CASE/NAME for several cases"
            )
    for label, found in cases.items():
        if not found.inputs:
            raise UnreadableInput(f"{source}: has answers but no inputs{f' in case {label}' if label else ''}")
    if not cases:
        raise UnreadableInput(f"{source}: holds no arrays")
    return tuple(cases.values())


def _check(array: Array, tensor: TensorMetadata, place: str) -> None:
    check_numbers(array, place)
    if array.ndim != len(tensor.shape) or 0 in array.shape:
        raise UnreadableInput(
            f"{place}: has shape {array.shape}. Expected ({', '.join(tensor.axis_names)}), with no axis of size 0"
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


def draw_sizes(
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
            f"model {metadata.name} takes `{tensor.name}` of shape {tensor.shape}, and the server does not describe "
            "its axes, so rows cannot be drawn for it. Send rows from a file: --inputs FILE.npz"
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


def classifies_walks(metadata: ModelMetadata) -> bool:
    """Return whether a model classifies the direction of walks. If it does, its labels can be checked."""
    tensor, logits = metadata.inputs.get("input"), metadata.outputs.get("logits")
    takes_points = tensor is not None and len(tensor.shape) == 3 and tensor.shape[2] == 2
    return takes_points and logits is not None and logits.datatype == "FP32" and metadata.labels == WALK_LABELS


def draw_labelled_walks(
    lengths: npt.NDArray[np.int64], random: np.random.Generator
) -> tuple[list[npt.NDArray[np.float32]], npt.NDArray[np.int64]]:
    """Draw walks around the corners of a square, with their classes.

    The walks have the distribution of the training data, but this code is independent of the training code. So labels
    are checked against a second implementation. Lengths and classes have shape (batch,), walks (length, features=2).
    """
    directions = random.integers(2, size=len(lengths))  # (batch,)
    starts = random.integers(4, size=len(lengths))  # (batch,)
    walks = []
    for length, direction, start in zip(lengths.tolist(), directions.tolist(), starts.tolist(), strict=True):
        corners = _CORNERS[(start + (2 * direction - 1) * np.arange(length)) % 4]  # (length, 2)
        walks.append((corners + _NOISE * random.standard_normal((length, 2))).astype(np.float32))
    return walks, np.where(lengths >= 2, directions, UNKNOWN_CLASS)
