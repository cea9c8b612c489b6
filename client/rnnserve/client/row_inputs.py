"""Check a caller's rows against a model's metadata before anything is sent.

This module checks only shapes and datatypes. The server checks values: it reports which element is NaN, for example.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.client.errors import InvalidRequest
from rnnserve.client.metadata import ModelMetadata, TensorMetadata
from rnnserve.client.tensors import Array, as_numbers, cast_losslessly
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.protocol_words import BATCH

__all__ = ["InputsLike", "RowInputs", "RowsLike", "check_rows", "describe_row", "dtype_of", "main_input", "row_word"]

RowsLike = npt.ArrayLike | Sequence[npt.ArrayLike | None]
"""The rows of one input: a list with one array per row, without the batch axis and of any lengths, or one array with
all axes of the input, including the batch axis. In a list, None omits a row's initial state: zeros or the model's own
default replace it."""

InputsLike = RowsLike | Mapping[str, RowsLike]
"""The rows of every input by its name, or the rows of the only input that a model requires."""


@dataclass(frozen=True)
class RowInputs:
    """Rows that match a model.

    Attributes:
        tensors: For each input to send, one array per row, with all axes of the input except the batch axis, in the
            model's dtype.
        sizes: For each row, the size of each variable axis, by the axis's name.
        ends: For each row, the number of valid steps on each axis with lengths, by the axis's name.
        left_out: For inputs whose default is not zeros, the indices of the rows that omit them.
    """

    tensors: dict[str, list[Array]]
    sizes: list[dict[str, int]]
    ends: list[dict[str, int]]
    left_out: Mapping[str, frozenset[int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sizes)


def check_rows(metadata: ModelMetadata, inputs: InputsLike) -> RowInputs:
    """Return the rows of a call. All inputs must have the same number of rows and the same sizes.

    Omitted initial states are zeros or the model's own default, and omitted lengths are the rows' sizes.

    Raises:
        InvalidRequest: The rows do not match the model. The message contains the details.
    """
    given = dict(inputs) if isinstance(inputs, Mapping) else {main_input(metadata).name: inputs}
    _check_names(metadata, list(given))
    if not given and metadata.inputs and all(tensor.optional for tensor in metadata.inputs.values()):
        return RowInputs({}, [{}], [{}])  # one row, for a model that requires no input
    if not given:
        raise InvalidRequest(f"no rows were passed; the inputs of model {metadata.name} are {_listed(metadata)}")
    named = isinstance(inputs, Mapping) and len(inputs) > 1
    rows = {name: _check_input(metadata, name, value, named=named) for name, value in given.items()}
    first, count = next((name, len(arrays)) for name, arrays in rows.items())
    for name, arrays in rows.items():
        if len(arrays) != count:
            raise InvalidRequest(
                f'"{name}" has {len(arrays)} rows, but "{first}" has {count}; every input needs the same number of rows'
            )
    for name, tensor in metadata.inputs.items():
        if name not in rows and tensor.required and not tensor.lengths_of:
            raise InvalidRequest(
                f'"{name}" is missing; pass {describe_row(tensor)} for each row, because the default of model '
                f"{metadata.name} depends on other inputs"
            )
        if name not in rows and not tensor.optional and name in metadata.states:
            # Servers that follow the protocol strictly require every input. `rnnserve serve` marks states as optional.
            rows[name] = [None] * count
    sizes = [_row_sizes(metadata, rows, index) for index in range(count)]
    tensors = {
        name: [
            _zeros(metadata.inputs[name], arrays, sizes[index]) if array is None else array
            for index, array in enumerate(arrays)
        ]
        for name, arrays in rows.items()
    }
    left_out = {
        name: frozenset(index for index, array in enumerate(arrays) if array is None)
        for name, arrays in rows.items()
        if metadata.inputs[name].default
    }
    ends = [_row_ends(metadata, tensors, index, sizes[index]) for index in range(count)]
    return RowInputs(tensors, sizes, ends, left_out)


def main_input(metadata: ModelMetadata) -> TensorMetadata:
    """Return the only input that the model requires, for rows without names. Raises InvalidRequest otherwise."""
    required = [
        tensor
        for name, tensor in metadata.inputs.items()
        if not tensor.optional and not tensor.lengths_of and name not in metadata.states
    ]
    if len(required) != 1:
        names = ", ".join(f'"{tensor.name}"' for tensor in required or metadata.inputs.values()) or "no input"
        raise InvalidRequest(
            f"model {metadata.name} takes {names}; pass the rows of each input by its name (a dict, a JSON object or a "
            ".npz file)"
        )
    return required[0]


def dtype_of(tensor: TensorMetadata) -> np.dtype[Any]:
    """Return the dtype of a model's input. Raises InvalidRequest if the input doesn't accept numbers."""
    dtype = DTYPES.get(tensor.datatype)
    if dtype is None:
        raise InvalidRequest(f"the model takes {tensor.name} as {tensor.datatype}, which is not a number; use infer()")
    return dtype


def _check_names(metadata: ModelMetadata, names: Sequence[str]) -> None:
    for name in names:
        if name not in metadata.inputs:
            raise InvalidRequest(f'model {metadata.name} has no input "{name}"; its inputs are {_listed(metadata)}')
    for name, tensor in metadata.inputs.items():
        if name in names or tensor.optional or tensor.lengths_of or name in metadata.states:
            continue
        raise InvalidRequest(f'"{name}" is missing; model {metadata.name} takes {describe_row(tensor)} for each row')
    carried = [name for name in names if name in metadata.states]
    missing = [name for name in metadata.states if name in metadata.inputs and name not in names]
    if carried and missing:
        raise InvalidRequest(
            f"{', '.join(carried)} was passed without {', '.join(missing)}; model {metadata.name} needs all of its "
            "initial states or none (h_n of the previous part as h_0, c_n as c_0)"
        )


def _check_input(metadata: ModelMetadata, name: str, value: RowsLike, *, named: bool) -> list[Array | None]:
    """Return one array per row, in the model's dtype, or None for a row of zeros."""
    tensor = metadata.inputs[name]
    if tensor.batch_axis is None:
        raise InvalidRequest(
            f"{name} {list(tensor.shape)} of model {metadata.name} has no batch axis, so it cannot be split into rows; "
            "send the whole tensor with infer()"
        )
    is_named = named or name in metadata.states or bool(tensor.lengths_of)
    whole = name if is_named else "the array"
    if hasattr(value, "__array__"):  # iterating over another library's tensor would confuse layers with rows
        array = cast_losslessly(_check_whole(tensor, np.asarray(value), whole), dtype_of(tensor), whole)
        arrays = list(np.moveaxis(array, tensor.batch_axis, 0))
        if arrays:
            _check_row(metadata, tensor, arrays[0], f"{whole}: each row")
        return list(arrays)
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InvalidRequest(f'"{name}" must be a list of rows, got {type(value).__name__}')
    rows: list[tuple[str, Array | None]] = []
    for index, row in enumerate(value):
        what = f"{name}[{index}]" if is_named else f"{row_word(tensor)} {index}"
        if row is None and name not in metadata.states and not tensor.optional:
            raise InvalidRequest(f"{what} is None; expected {describe_row(tensor)}. Only initial states may be None")
        rows.append((what, None if row is None else as_numbers(row, what)))
    checked: list[Array | None] = []
    others = [row for _, row in rows]
    for what, each in rows:
        if each is not None:
            _check_row(metadata, tensor, each, what, others)
        checked.append(None if each is None else cast_losslessly(each, dtype_of(tensor), what))
    return checked


def _check_whole(tensor: TensorMetadata, array: Array, what: str) -> Array:
    """Check the shape of an array with all axes of an input."""
    if array.dtype == object:
        raise InvalidRequest(
            f"{what} is an array of objects; pass rows of different sizes as a list of arrays {describe_row(tensor)}"
        )
    as_numbers(array, what)
    expected = ", ".join(describe_axis(axis, size) for axis, size in zip(tensor.axis_names, tensor.shape, strict=True))
    if matches(array.shape, tensor.shape) or (0 in array.shape and array.ndim == len(tensor.shape)):
        return array
    hint = ""
    batch_first = [BATCH, *(axis for axis in tensor.axis_names if axis != BATCH)]
    sizes = dict(zip(tensor.axis_names, tensor.shape, strict=True))
    if matches(array.shape, [size for _, size in tensor.row_axes]):
        hint = f". This looks like a single row: pass [{what if what != 'the array' else 'array'}]"
    elif tensor.batch_axis != 0 and matches(array.shape, [sizes[axis] for axis in batch_first]):
        hint = (
            f". This looks batch-first, but the model takes the batch as axis {tensor.batch_axis}: use numpy.moveaxis"
        )
    elif array.ndim == len(tensor.shape) and tensor.batch_axis is not None:
        hint = likely_mistake(tensor, [np.moveaxis(array, tensor.batch_axis, 0).shape[1:]])
    raise InvalidRequest(
        f"{what} has shape {array.shape}; expected ({expected}), or a list of arrays {describe_row(tensor)}{hint}"
    )


def _check_row(
    metadata: ModelMetadata, tensor: TensorMetadata, array: Array, what: str, others: Sequence[Array | None] = ()
) -> None:
    """Check the shape of a row. `others` are all rows of the call, which help to guess the likely mistake."""
    expected = [size for _, size in tensor.row_axes]
    if matches(array.shape, expected) and 0 not in array.shape:
        return
    found = f"{what} has shape {array.shape}"
    if 0 in array.shape:
        raise InvalidRequest(f"{found} and is empty; expected {describe_row(tensor)} with sizes of at least 1")
    shapes = [array.shape, *(row.shape for row in others if row is not None)]
    raise InvalidRequest(
        f"{found}, but model {metadata.name} takes {describe_row(tensor)}{likely_mistake(tensor, shapes)}"
    )


def row_word(tensor: TensorMetadata) -> str:
    """Return the word for a row of an input in messages: "sequence" if requests choose its length, else "row"."""
    return "sequence" if any(size < 0 for _, size in tensor.row_axes) else "row"


_Shape = Sequence[int]


def matches(shape: _Shape, expected: _Shape) -> bool:
    """Return whether a shape is as expected. An expected -1 matches any size."""
    return len(shape) == len(expected) and all(
        required in (-1, size) for size, required in zip(shape, expected, strict=True)
    )


def describe_row(tensor: TensorMetadata) -> str:
    """Return a row's axes with their sizes: "(sequence, features=2)"."""
    if not tensor.row_axes:
        return "a number"
    return f"({', '.join(describe_axis(axis, size) for axis, size in tensor.row_axes)})"


def describe_axis(axis: str, size: int) -> str:
    """Return an axis, with its size if that is fixed: "features=2"."""
    return axis if size < 0 else f"{axis}={size}"


def likely_mistake(tensor: TensorMetadata, shapes: Sequence[_Shape]) -> str:
    """Return a sentence about the likely mistake, beginning with ". ", or an empty text if no mistake is likely.

    `shapes` are the shapes of all rows, the wrong one first. The sentence mentions reversed axes only if every row
    would fit with reversed axes, including its limits. Even that may be chance (two points of three numbers each, if
    the model takes two), so the sentence also names the other possible mistake.
    """
    expected = [size for _, size in tensor.row_axes]
    shape = tuple(shapes[0])
    if len(shape) == len(expected) + 1:
        return ". Did you add a batch axis? Pass the arrays in it as separate rows"
    if not shape:
        return ". This is a single number: pass a list of rows"
    if len(shape) == len(expected) - 1 and expected[-1] == 1:
        return ". If each step has one number, use reshape(-1, 1)"
    if len(shape) != len(expected):
        return ""
    axis, size = tensor.row_axes[-1]
    counted = f"the model takes {size} {axis}, not {shape[-1]}" if size not in (-1, shape[-1]) else ""
    if len(shape) > 1 and all(_fits(tensor, tuple(each)[::-1]) for each in shapes):
        order = ", ".join(name for name, _ in reversed(tensor.row_axes))
        return (
            f". If its axes are in reverse order, ({order}), transpose it{f'. Otherwise, {counted}' if counted else ''}"
        )
    return f". Note that {counted}" if counted else ""


def _fits(tensor: TensorMetadata, shape: _Shape) -> bool:
    limits = [tensor.limits.get(axis, (1, size)) for (axis, _), size in zip(tensor.row_axes, shape, strict=False)]
    return matches(shape, [size for _, size in tensor.row_axes]) and all(
        low <= size <= high for size, (low, high) in zip(shape, limits, strict=True)
    )


def _row_sizes(metadata: ModelMetadata, rows: Mapping[str, Sequence[Array | None]], index: int) -> dict[str, int]:
    """Return the sizes of one row's variable axes. All inputs with the same axis must agree on its size."""
    sizes: dict[str, int] = {}
    source: dict[str, str] = {}
    for name, arrays in rows.items():
        array = arrays[index]
        if array is None:
            continue
        for (axis, fixed), size in zip(metadata.inputs[name].row_axes, array.shape, strict=True):
            if fixed >= 0:
                continue
            if sizes.setdefault(axis, size) != size:
                raise InvalidRequest(
                    f"{name}[{index}] has {axis}={size}, but {source[axis]}[{index}] has {axis}={sizes[axis]}; "
                    "an axis must have the same size in all inputs of a row"
                )
            source.setdefault(axis, name)
    return sizes


def _row_ends(
    metadata: ModelMetadata, tensors: Mapping[str, Sequence[Array]], index: int, sizes: Mapping[str, int]
) -> dict[str, int]:
    """Return one row's number of valid steps on each axis: the lengths from the caller, or else the row's sizes."""
    ends: dict[str, int] = {}
    for name, tensor in metadata.inputs.items():
        axis = tensor.lengths_of
        if not axis:
            continue
        if name in tensors:
            ends[axis] = int(tensors[name][index])
            if not 1 <= ends[axis] <= sizes.get(axis, ends[axis]):
                raise InvalidRequest(f"{name}[{index}] is {ends[axis]}; expected 1 to {axis}={sizes[axis]}")
        elif axis in sizes:
            ends[axis] = sizes[axis]
    return ends


def _zeros(tensor: TensorMetadata, rows: Sequence[Array | None], sizes: Mapping[str, int]) -> Array:
    """Return zeros for one row of an input. If the metadata don't determine the shape, use the other rows' shape."""
    shape = [size if size >= 0 else sizes.get(axis, -1) for axis, size in tensor.row_axes]
    if min(shape, default=0) < 0:
        other = next((array for array in rows if array is not None), None)
        if other is None:
            raise InvalidRequest(
                f"{tensor.name} cannot be None in every row, because the server does not report its size; pass zeros"
            )
        shape = list(other.shape)
    return np.zeros(shape, dtype_of(tensor))


def _listed(metadata: ModelMetadata) -> str:
    return ", ".join(metadata.inputs) or "none"
