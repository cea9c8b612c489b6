"""The results of rows that are run together beside those that the file gives for each of them alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.adoption.open_axes import Batches, OpenInput, draw
from rnnserve.export.errors import ExportError
from rnnserve.export.module_interface import Arrays
from rnnserve.export.parity import OnnxRunner
from rnnserve.export.parity.tolerances import EAGER_ROUNDING
from rnnserve.protos.differences import equally_non_finite, scale

__all__ = ["QUANTISED", "check_rows", "is_same_result", "moved", "row_of"]

_Array = npt.NDArray[Any]

_ROWS = (1, 2, 5)

QUANTISED = 0.1
"""A row moves by less than this part of what rows differ by where int8 is scaled by the largest value of all rows."""


def check_rows(
    inputs: Sequence[OpenInput],
    batches: Batches,
    sizes: Mapping[str, int],
    alone: OnnxRunner,
    served: OnnxRunner,
    *,
    allowed: float,
) -> None:
    """Compare rows of several batches with what the file gives for each of them.

    Args:
        inputs: Inputs of the file.
        batches: Axis of each input that is the batch.
        sizes: Sizes of other axes with which it runs.
        alone: The file itself.
        served: File that is published.
        allowed: Part of what rows differ by that a row may move, beyond rounding: `QUANTISED`, or 0.

    Raises:
        ExportError: If a row has another result.
        RuntimeError: If onnxruntime does not run it.
    """
    for count in _ROWS:
        rows = [draw(inputs, batches, 1, sizes, np.random.default_rng([count, row])) for row in range(count)]
        results = served({name: _joined([row[name] for row in rows], axis) for name, axis in batches.items()})
        expected = [alone(row) for row in rows]
        for name, array in results.items():
            change = moved(array, [row[name] for row in expected])
            if change is None or change > allowed:
                how = "it has another shape" if change is None else f"it differs by {change:.3g} of what rows differ by"
                raise ExportError(f'with {count} rows, "{name}" is not what the file gives for each row alone: {how}')


def _joined(rows: Sequence[_Array], axis: int | None) -> _Array:
    return np.stack(rows) if axis is None else np.concatenate(rows, axis=axis)


def moved(found: _Array, rows: Sequence[_Array]) -> float | None:
    """Give by how much rows differ from what each is alone, as a part of what rows differ by among themselves.

    Args:
        found: Rows together, along an axis that has size 1 in each alone, or along a further first one.
        rows: Each row alone.

    Returns:
        0 where that is rounding; infinity where integers differ; None where they have other shapes.
    """
    shape = rows[0].shape
    if any(row.shape != shape for row in rows):
        return None
    for axis in (None, *(at for at, size in enumerate(shape) if size == 1)):
        expected = _joined(rows, axis)
        if found.shape == expected.shape and found.dtype == expected.dtype:
            return _change(found, expected, axis or 0)
    return None


def is_same_result(found: _Array, expected: _Array) -> bool:
    """Whether a result is another one but for rounding."""
    return (found.shape, found.dtype) == (expected.shape, expected.dtype) and _change(found, expected, None) == 0


def _change(found: _Array, expected: _Array, axis: int | None) -> float:
    if found.dtype.kind != "f":
        return 0.0 if np.array_equal(found, expected) else np.inf
    with np.errstate(invalid="ignore"):
        change = np.abs(found.astype(np.float64) - expected)
    change = np.where(equally_non_finite(found, expected), 0, np.nan_to_num(change, nan=np.inf))
    largest = float(change.max(initial=0.0))
    if largest <= EAGER_ROUNDING * scale(expected):
        return 0.0
    spread = float(np.nan_to_num(np.ptp(expected.astype(np.float64), axis=axis)).max(initial=0.0))
    return largest / spread if spread else np.inf


def row_of(arrays: Arrays, batches: Batches, row: int) -> Arrays:
    """Give one row of arrays, with its batch axis; those that have none are the same for all rows."""
    return {
        name: array if (axis := batches[name]) is None else array.take([row], axis=axis)
        for name, array in arrays.items()
    }
