"""How far rounding moves the results of each row: golden cases are chosen by it, and their limits follow from it."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.module_interface import Arrays
from rnnserve.export.parity.reference import MOVED, Truth
from rnnserve.export.parity.tolerances import ULP
from rnnserve.export.tensor_shapes import axis_of, mask_before_lengths, sizes_of
from rnnserve.protos import manifest_pb2
from rnnserve.protos.differences import coarseness, equally_non_finite, scale
from rnnserve.protos.golden import Inference
from rnnserve.protos.protocol_words import BATCH

__all__ = ["Moved", "Rounding"]

_Array = npt.NDArray[Any]
_Inputs = Mapping[str, _Array]

_MOVES = 4
"""Runs in float64 on inputs that are moved."""

_MOST_ROWS = 64
"""Rows that are run as one."""


@dataclasses.dataclass(frozen=True)
class Moved:
    """A batch, and copies of it that are moved by as much as float32 rounds.

    Attributes:
        inputs: Every input by name, as in a golden case.
        copies: The same, moved, in float64.
        eager: Eager's results of the inputs; None where they are not known.
        exact: Results of the inputs in float64; likewise.
    """

    inputs: _Inputs
    copies: Sequence[_Inputs]
    eager: _Inputs | None = None
    exact: _Inputs | None = None


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
        return self.until_calm_each([Moved(inputs, self.moved_copies(inputs), exact=exact)], count, limit)[0]

    def until_calm_each(self, every: Sequence["Moved"], count: int, limit: float) -> list[npt.NDArray[np.float64]]:
        """Measure several batches, of the same sizes, as `until_calm` does one.

        Args:
            every: The batches.
            count: Rows that are looked for in each.
            limit: Distance, in the unit of limits.

        Returns:
            For each batch (rows,) float64: distances of the rows that were measured, from the first on.
        """
        rows = self._row_count(every[0].inputs)
        first = min(count, rows) if self._rows_apart else rows
        furthest = self.distances_each([self._cut(each, 0, first) for each in every])
        few = [at for at, found in enumerate(furthest) if np.count_nonzero(found <= limit) < count]
        if first < rows and few:
            others = self.distances_each([self._cut(every[at], first, rows) for at in few])
            for at, more in zip(few, others, strict=True):
                furthest[at] = np.concatenate([furthest[at], more])
        return furthest

    def distances(self, inputs: _Inputs, *, with_model: bool = True) -> npt.NDArray[np.float64]:
        """Measure how far the results of each row move.

        Args:
            inputs: Every input by name, as in a golden case.
            with_model: Whether the ONNX model's results are one of the samples, as for `distances_each`.

        Returns:
            (batch,) float64: the distance of the value that moves furthest, in the unit of limits.
        """
        return self.distances_each([Moved(inputs, self.moved_copies(inputs))], with_model=with_model)[0]

    def distances_each(self, every: Sequence["Moved"], *, with_model: bool = True) -> list[npt.NDArray[np.float64]]:
        """Measure how far the results of each row of several batches move.

        Args:
            every: The batches.
            with_model: Whether the ONNX model's results are one of the samples. They are not where limits are made:
                what is judged by a limit must not widen it. Where rows are chosen, those whose integers differ are
                infinitely far: a place among values that are equal but for rounding is no golden result.

        Returns:
            For each batch (batch,) float64: the distance of the value that moves furthest, in the unit of limits.
        """
        runs = [run for each in every for run in (*([each.inputs] if each.exact is None else []), *each.copies)]
        results = iter(self.exact_of(runs))
        furthest = []
        for each in every:
            exact = next(results) if each.exact is None else each.exact
            of_copies = [next(results) for _ in each.copies]
            furthest.append(self._distances(each, exact, of_copies, with_model=with_model))
        return furthest

    def _distances(
        self, batch: "Moved", exact: _Inputs, of_copies: Sequence[_Inputs], *, with_model: bool
    ) -> npt.NDArray[np.float64]:
        inputs = batch.inputs
        eager = self.reference.eager(inputs) if batch.eager is None else batch.eager
        samples = [eager, *([self._compute(inputs)] if with_model else []), *of_copies]
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

    def exact_of(self, every: Sequence[_Inputs]) -> list[_Inputs]:
        """Compute batches in float64; those of equal sizes as one where rows may share a run: weights are read once.

        Args:
            every: Inputs of each batch.
        """
        if not self._rows_apart or self.reference.exact_by == MOVED:
            return [self.reference.exact(inputs) for inputs in every]
        results: list[_Inputs] = [{}] * len(every)
        for places in self._sharing(every):
            some = [every[at] for at in places]
            for at, result in zip(places, self._exact_as_one(some), strict=True):
                results[at] = result
        return results

    def _sharing(self, every: Sequence[_Inputs]) -> list[list[int]]:
        """Give the places of the batches that are one run: of equal sizes but for the rows, and not too many rows."""
        found: list[list[int]] = []
        open_by_sizes: dict[object, tuple[list[int], int]] = {}
        for at, inputs in enumerate(every):
            rows, sizes = self._row_count(inputs), sizes_of(self._inputs, inputs)
            key = tuple(sorted((axis, size) for axis, size in sizes.items() if axis != BATCH))
            places, before = open_by_sizes.get(key, ([], 0))
            if not places or before + rows > _MOST_ROWS:
                places, before = [], 0
                found.append(places)
            places.append(at)
            open_by_sizes[key] = places, before + rows
        return found

    def _exact_as_one(self, every: Sequence[_Inputs]) -> list[_Inputs]:
        if len(every) == 1:
            return [self.reference.exact(every[0])]
        joined = {
            tensor.name: np.concatenate([inputs[tensor.name] for inputs in every], axis_of(tensor, BATCH) or 0)
            for tensor in self._inputs
        }
        results = self.reference.exact(joined)
        ends = np.cumsum([self._row_count(inputs) for inputs in every])
        return [_cut(self._outputs, results, *ends_of) for ends_of in itertools.pairwise([0, *ends.tolist()])]

    def moved_copies(self, inputs: _Inputs) -> list[Arrays]:
        """Move a batch several times, where there is float64 to run it in."""
        if self.reference.exact_by == MOVED:
            return []
        return [{name: self._moved(array) for name, array in inputs.items()} for _ in range(_MOVES)]

    def _moved(self, array: _Array) -> _Array:
        """Move floats by up to one step of float32 near 1; the result is float64."""
        if array.dtype.kind != "f":
            return array
        moved: _Array = array + ULP * self._random.uniform(-1, 1, array.shape)
        return moved

    def _cut(self, batch: "Moved", first: int, after: int) -> "Moved":
        """Give some rows of a batch of which eager's results are not known; the batch itself where these are all."""
        if (first, after) == (0, self._row_count(batch.inputs)):
            return batch
        inputs, *copies = (_cut(self._inputs, each, first, after) for each in (batch.inputs, *batch.copies))
        return Moved(
            inputs, copies, exact=None if batch.exact is None else _cut(self._outputs, batch.exact, first, after)
        )

    def _row_count(self, inputs: _Inputs) -> int:
        return int(inputs[self._inputs[0].name].shape[axis_of(self._inputs[0], BATCH) or 0])


def _cut(tensors: Sequence[manifest_pb2.Tensor], arrays: _Inputs, first: int, after: int) -> Arrays:
    """Give some rows of arrays by name."""
    return {
        tensor.name: np.take(arrays[tensor.name], range(first, after), axis_of(tensor, BATCH) or 0)
        for tensor in tensors
    }
