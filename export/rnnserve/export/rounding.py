"""How far rounding moves the results of each row: golden cases are chosen by it, and their limits follow from it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.module_interface import Arrays
from rnnserve.export.parity.reference import MOVED, Truth
from rnnserve.export.parity.tolerances import ULP
from rnnserve.export.tensor_shapes import axis_of, mask_before_lengths
from rnnserve.protos import manifest_pb2
from rnnserve.protos.differences import coarseness, equally_non_finite, scale
from rnnserve.protos.golden import Inference
from rnnserve.protos.protocol_words import BATCH

__all__ = ["Rounding"]

_Array = npt.NDArray[Any]
_Inputs = Mapping[str, _Array]

_MOVES = 4
"""Runs in float64 on inputs that are moved."""

_MOST_ROWS = 64
"""Rows that are run as one."""


class Rounding:
    """Samples of what rounding does to a model's results.

    Eager's results and another runtime's are two samples, in which a row's rounding may be small by luck. Float64 on
    inputs that are moved by as much as float32 rounds gives further samples.

    Attributes:
        reference: What computes the results that are judged by.
    """

    def __init__(
        self,
        model: ModelDescription,
        reference: Truth,
        compute: Inference,
        random: np.random.Generator,
        *,
        rows_apart: bool = False,
    ) -> None:
        """Take what computes the samples.

        Args:
            model: Model that is computed.
            reference: Module of the model, or what stands for it.
            compute: ONNX model.
            random: Generator by which inputs are moved.
            rows_apart: Whether a row's results depend on no other row, so that any rows may share a run.
        """
        self.reference = reference
        self._inputs, self._outputs = model.inputs, model.outputs
        self._lengths = model.lengths
        self._compute = compute
        self._random = random
        every = [*model.inputs, *model.outputs]
        self._rows_apart = rows_apart and all(axis_of(tensor, BATCH) is not None for tensor in every)

    def until_calm(
        self, inputs: _Inputs, count: int, limit: float, *, exact: _Inputs | None = None
    ) -> npt.NDArray[np.float64]:
        """Measure the first rows, and the others only where fewer than `count` of those are within a limit.

        Args:
            inputs: Every input by name, as in a golden case.
            count: Rows that are looked for.
            limit: Distance, in the unit of limits.
            exact: Results of these inputs in float64; None where they are not known.

        Returns:
            (rows,) float64: distances of the rows that were measured, from the first on.
        """
        moved = self._moved_inputs(inputs)
        rows = self._row_count(inputs)
        first = min(count, rows) if self._rows_apart else rows

        def measured(start: int, end: int) -> npt.NDArray[np.float64]:
            if (start, end) == (0, rows):
                return self._distances(inputs, moved, exact=exact)
            known = None if exact is None else _cut(self._outputs, exact, start, end)
            some, *of_moved = (_cut(self._inputs, each, start, end) for each in (inputs, *moved))
            return self._distances(some, of_moved, exact=known)

        furthest = measured(0, first)
        if first == rows or np.count_nonzero(furthest <= limit) >= count:
            return furthest
        return np.concatenate([furthest, measured(first, rows)])

    def distances(
        self,
        inputs: _Inputs,
        *,
        with_model: bool = True,
        eager: _Inputs | None = None,
        exact: _Inputs | None = None,
    ) -> npt.NDArray[np.float64]:
        """Measure how far the results of each row move.

        Args:
            inputs: Every input by name, as in a golden case.
            with_model: Whether the ONNX model's results are one of the samples. They are not where limits are made:
                what is judged by a limit must not widen it. Where rows are chosen, those whose integers differ are
                infinitely far: a place among values that are equal but for rounding is no golden result.
            eager: Eager's results of these inputs; None where they are not known.
            exact: Results of these inputs in float64; likewise.

        Returns:
            (batch,) float64: the distance of the value that moves furthest, in the unit of limits.
        """
        return self._distances(inputs, self._moved_inputs(inputs), with_model=with_model, eager=eager, exact=exact)

    def _distances(
        self,
        inputs: _Inputs,
        moved: Sequence[_Inputs],
        *,
        with_model: bool = True,
        eager: _Inputs | None = None,
        exact: _Inputs | None = None,
    ) -> npt.NDArray[np.float64]:
        if exact is None:
            exact, *of_moved = self._exact_of([inputs, *moved])
        else:
            of_moved = self._exact_of(moved)
        eager = self.reference.eager(inputs) if eager is None else eager
        samples = [eager, *([self._compute(inputs)] if with_model else []), *of_moved]
        if self.reference.exact_by == MOVED:
            samples += self.reference.moved(inputs)
        rows = next(exact[tensor.name].shape[axis_of(tensor, BATCH) or 0] for tensor in self._outputs)
        furthest = np.zeros(rows)
        for sample in samples:
            for tensor in self._outputs:
                found, expected = sample[tensor.name], exact[tensor.name]
                if found.shape != expected.shape or (expected.dtype.kind != "f" and not with_model):
                    continue
                mask = mask_before_lengths(tensor, expected.shape, inputs, self._lengths)
                if expected.dtype.kind != "f":
                    distance = np.where(found == eager[tensor.name], 0.0, np.inf)
                else:
                    with np.errstate(invalid="ignore"):
                        distance = np.abs(found.astype(np.float64) - expected)
                    distance = np.where(equally_non_finite(found, expected), 0, np.nan_to_num(distance, nan=np.inf))
                distance = distance if mask is None else np.where(mask, distance, 0)
                is_float = expected.dtype.kind == "f"
                unit = scale(expected) * (coarseness(found.dtype) if found.dtype.kind == "f" else 1) if is_float else 1
                by_row = np.moveaxis(distance, axis_of(tensor, BATCH) or 0, 0).reshape(rows, -1)
                furthest = np.maximum(furthest, by_row.max(axis=1) / unit)
        return furthest

    def _exact_of(self, every: Sequence[_Inputs]) -> list[_Inputs]:
        """Compute batches of equal sizes in float64, as one where rows may share a run: weights are read once then."""
        rows = self._row_count(every[0]) if every else 0
        if not self._rows_apart or not 0 < rows * len(every) <= _MOST_ROWS:
            return [self.reference.exact(inputs) for inputs in every]
        joined = {
            tensor.name: np.concatenate([inputs[tensor.name] for inputs in every], axis_of(tensor, BATCH) or 0)
            for tensor in self._inputs
        }
        results = self.reference.exact(joined)
        return [_cut(self._outputs, results, at * rows, (at + 1) * rows) for at in range(len(every))]

    def _moved_inputs(self, inputs: _Inputs) -> list[Arrays]:
        if self.reference.exact_by == MOVED:
            return []
        return [{name: self._moved(array) for name, array in inputs.items()} for _ in range(_MOVES)]

    def _moved(self, array: _Array) -> _Array:
        """Move floats by up to one step of float32 near 1; the result is float64."""
        if array.dtype.kind != "f":
            return array
        moved: _Array = array + ULP * self._random.uniform(-1, 1, array.shape)
        return moved

    def _row_count(self, inputs: _Inputs) -> int:
        return int(inputs[self._inputs[0].name].shape[axis_of(self._inputs[0], BATCH) or 0])


def _cut(tensors: Sequence[manifest_pb2.Tensor], arrays: _Inputs, first: int, after: int) -> Arrays:
    """Give some rows of arrays by name."""
    return {
        tensor.name: np.take(arrays[tensor.name], range(first, after), axis_of(tensor, BATCH) or 0)
        for tensor in tensors
    }
