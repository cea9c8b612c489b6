"""Which axis of each input is the batch, found by trial: rows that are run together, and each of them alone."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from rnnserve.export.adoption.file_comparison import QUANTISED, moved, row_of
from rnnserve.export.adoption.open_axes import Batches, OpenInput, draw
from rnnserve.export.module_interface import Arrays
from rnnserve.export.parity import OnnxRunner

__all__ = ["BatchTrial", "Found"]

_ROWS = 3
_SIZES = (8, 16, 32, 64, 128, 160, 320, 512, 576, 4, 2, 1, 3, 5, 6, 12, 48, 80, 100, 240, 256, 400, 640)
_LONG = (1024, 1280, 1600, 4000, 16000)  # of files with one such axis: windows of samples
_PAIRED = (32, 48, 64, 100, 160, 224, 320)
"""Sizes of the other axes that are tried: equal ones, and where there are two, unlike ones."""

_DRAWN = 4  # drawn values of one size
_MOST = 48  # assignments of batches that are tried
_LARGEST = 16384


@dataclasses.dataclass(frozen=True)
class Found:
    """What trials told.

    Attributes:
        batches: Which axis of each input is the batch.
        sizes: Sizes of the other dynamic axes with which the file runs.
        together: Whether several rows may be run at once; otherwise the file takes one row at a time.
    """

    batches: Batches
    sizes: Mapping[str, int]
    together: bool


class BatchTrial:
    """Trials of a file.

    Args:
        inputs: Inputs of the file.
        alone: File as it is.
        together: File with each axis that may be the batch dynamic.
        limits: The smallest and the largest size of axes of which the user says it.
        widths: Sizes of its weights, one of which an axis of any size may have to have.
        is_quantised: Whether it scales to int8 by the values that it meets: then rows move each other a little.

    Attributes:
        refused: What onnxruntime said of the first sizes that it did not run; empty where it ran.
    """

    def __init__(
        self,
        inputs: Sequence[OpenInput],
        alone: OnnxRunner,
        together: OnnxRunner,
        limits: Mapping[str, tuple[int, int]],
        *,
        widths: Sequence[int] = (),
        is_quantised: bool,
    ) -> None:
        self._inputs, self._alone, self._together, self._limits = inputs, alone, together, limits
        self._is_quantised, self._widths = is_quantised, widths
        self.refused = ""

    def find(self) -> Found | None:
        """Find the batch; None where the file runs with no sizes that are tried."""
        near: Found | None = None
        for batches in itertools.islice(self._assignments(), _MOST):
            sizes = self._running_sizes(batches)
            if sizes is None:
                continue
            company = self._moved_by_company(batches, sizes)
            if company is None:
                continue
            change, keeps_rows = company
            if change == 0 or self._is_called(batches):
                return Found(batches, sizes, together=keeps_rows)
            if change < QUANTISED and self._is_quantised:
                near = near or Found(batches, sizes, together=keeps_rows)
        return near or self._one_row()

    def _is_called(self, batches: Batches) -> bool:
        """Whether file or user say that the batch is this and of any size: then rows may depend on each other."""
        return all(
            each.settled is not None and not isinstance(each.dims[each.settled], int) and each.settled == axis
            for each in self._inputs
            for axis in [batches[each.name]]
            if not each.is_number
        )

    def result_shapes(self, found: Found) -> dict[str, tuple[int, ...]]:
        """Give the shapes of the results for one row, with the largest size of each axis: 1 for those that stay 1."""
        sizes = [{axis: more * size for axis, size in found.sizes.items()} for more in (1, 2, 8)]
        runs = [results for each in sizes if (results := self._run(found.batches, each)) is not None]
        return {
            name: tuple(max(of_axis) for of_axis in zip(*(results[name].shape for results in runs), strict=True))
            for name in runs[0]
        }

    def size_of_values(self, found: Found) -> str:
        """Name a result whose sizes are others for other values, as where a Loop ends early; empty for none."""
        drawn = [self._run(found.batches, found.sizes, seed) for seed in range(_DRAWN)]
        runs = [results for results in drawn if results is not None]
        return next((name for name in runs[0] if len({results[name].shape for results in runs}) > 1), "")

    def runs(self, found: Found, sizes: Mapping[str, int]) -> bool:
        """Whether the file runs with one row of other sizes, and its results have as many axes: a Squeeze may not."""
        usual, results = (self._run(found.batches, {**found.sizes, **each}) for each in ({}, sizes))
        if usual is None or results is None:
            return False
        return all(results[name].ndim == array.ndim for name, array in usual.items())

    def range_of(self, found: Found, axis: str) -> tuple[int, int] | None:
        """Give the smallest and the largest size of an axis with which the file runs.

        Returns:
            (1, 0) where it runs with any; None where it runs with some sizes between which it does not run with others.
        """
        size = found.sizes[axis]
        further = [size + 1, size + 2, size + 7]
        if not all(self.runs(found, {axis: each}) for each in further):
            return None
        if all(self.runs(found, {axis: each}) for each in (1, 2, 3)):
            return 1, 0
        least = self._last(found, axis, size, 0)
        most, beyond = size + 7, 2 * size
        while beyond <= _LARGEST and self.runs(found, {axis: beyond}):
            most, beyond = beyond, 2 * beyond
        return least, _LARGEST if beyond > _LARGEST else self._last(found, axis, most, beyond)

    def _last(self, found: Found, axis: str, runs: int, fails: int) -> int:
        """Give the last size that runs between one that does and one that does not."""
        while abs(runs - fails) > 1:
            middle = (runs + fails) // 2
            runs, fails = (middle, fails) if self.runs(found, {axis: middle}) else (runs, middle)
        return runs

    def _assignments(self) -> Iterator[Batches]:
        """Give which axis of each input may be the batch, likely ones first; inputs of like axes have it alike."""
        groups: dict[object, list[OpenInput]] = {}
        for each in self._inputs:
            kind = tuple(dim if isinstance(dim, int) else "" for dim in each.dims)
            groups.setdefault((kind, each.settled, each.candidates), []).append(each)
        choices: list[Sequence[int | None]] = []
        for members in groups.values():
            settled, candidates = members[0].settled, members[0].candidates
            one_number: Sequence[int | None] = (None,) if members[0].is_number else candidates
            choices.append([settled] if settled is not None else one_number)
        for chosen in itertools.product(*choices):
            of_group = zip(groups.values(), chosen, strict=True)
            yield {each.name: axis for members, axis in of_group for each in members}

    def _one_row(self) -> Found | None:
        """Give the batch of a file for one row: an axis of size 1, or one that the file has not."""
        batches: dict[str, int | None] = {}
        for each in self._inputs:
            ones = [at for at in each.candidates if each.dims[at] == 1]
            batches[each.name] = each.settled if each.settled is not None else next(iter(ones), None)
        sizes = self._running_sizes(batches)
        return None if sizes is None else Found(batches, sizes, together=False)

    def _running_sizes(self, batches: Batches) -> dict[str, int] | None:
        names = self._free_names(batches)
        tried: Iterator[tuple[int, ...]] = iter([(size,) * len(names) for size in _SIZES])
        if len(names) == 1:
            tried = itertools.chain(tried, [(size,) for size in _LONG])
        if len(names) == 2:
            tried = itertools.chain(tried, itertools.permutations(_PAIRED, 2))
            of_weights = ((other, size) for size in self._widths for other in (_SIZES[0], size))
            tried = itertools.chain(tried, (pair for each in of_weights for pair in (each, each[::-1])))
        tried = itertools.chain(tried, [(size,) * len(names) for size in self._widths])
        done = set()
        for each in tried:
            sizes = {name: self._within(name, size) for name, size in zip(names, each, strict=True)}
            key = tuple(sizes.values())
            if key not in done and self._run(batches, sizes) is not None:
                return sizes
            done.add(key)
        return None

    def _free_names(self, batches: Batches) -> list[str]:
        names = [
            name
            for each in self._inputs
            for at, name in enumerate(each.axis_names(batches[each.name]))
            if isinstance(name, str) and at != batches[each.name]
        ]
        return list(dict.fromkeys(names))

    def _within(self, name: str, size: int) -> int:
        low, high = self._limits.get(name, (size, size))
        return min(max(size, low), high)

    def _run(self, batches: Batches, sizes: Mapping[str, int], seed: int = 0) -> Arrays | None:
        try:
            return self._alone(draw(self._inputs, batches, 1, sizes, np.random.default_rng(seed)))
        except RuntimeError as error:
            self.refused = self.refused or str(error)
            return None

    def _moved_by_company(self, batches: Batches, sizes: Mapping[str, int]) -> tuple[float, bool] | None:
        """Run rows together and alone, and give by how much they move, as a part of what rows differ by.

        Returns:
            0 where that is rounding, and whether results of one row have a batch axis, too: a Squeeze removes it. None
            where they do not run together, or a result has no row for each.
        """
        inputs = draw(self._inputs, batches, _ROWS, sizes, np.random.default_rng(1))
        try:
            found = self._together(inputs)
            rows = [self._alone(row_of(inputs, batches, row)) for row in range(_ROWS)]
        except RuntimeError:
            return None
        changes = [moved(found[name], [row[name] for row in rows]) for name in found]
        if None in changes:
            return None
        keeps_rows = all(found[name].ndim == array.ndim for name, array in rows[0].items())
        return max(change for change in changes if change is not None), keeps_rows
