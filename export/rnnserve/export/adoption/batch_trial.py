"""Which axis of each input is the batch, found by trial: rows that are run together, and each of them alone."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rnnserve.export.adoption.file_inputs import FileInput, Roles, describe_inputs
from rnnserve.export.parity import OnnxRunner
from rnnserve.export.parity.tolerances import EAGER_ROUNDING
from rnnserve.export.tensors import Arrays, draw_inputs, sequence_axes, take_row
from rnnserve.protos import manifest_pb2
from rnnserve.protos.differences import distances, scale
from rnnserve.protos.protocol_words import BATCH

__all__ = ["BatchTrial", "Found"]

_Array = npt.NDArray[Any]

_QUANTISED = 0.1
"""A row moves by less than this part of what rows differ by if int8 is scaled by the largest value of all rows."""

_ROWS = (3, 1, 5)
_MOST = 48  # choices of batches that are tried
_SIZES = (8, 16, 32, 64, 128, 160, 320, 512, 576, 4, 2, 1, 3, 5, 6, 12, 48, 80, 100, 240, 256, 400, 640)
_LONG = (1024, 1280, 1600, 4000, 16000)
"""Sizes of the other axes that are tried, all of them the same; the long ones if there is one axis: samples."""

_LARGEST = 16384


class Found(NamedTuple):
    """A choice of batches with which a file runs."""

    batches: Mapping[str, int]  # position of the batch, by input
    inputs: Sequence[manifest_pb2.Tensor]  # with these batches, described
    sizes: Mapping[str, int]  # of the other dynamic axes


class BatchTrial:
    """Runs a file as it is (`alone`), and with each axis dynamic that may be the batch (`together`).

    A quantised one scales to int8 by the values that it meets: then rows move each other a little.
    """

    def __init__(
        self,
        inputs: Sequence[FileInput],
        alone: OnnxRunner,
        together: OnnxRunner,
        roles: Roles,
        *,
        is_quantised: bool,
    ) -> None:
        self._inputs, self._alone, self._together, self._roles = inputs, alone, together, roles
        self._is_quantised = is_quantised
        self.one_row = ""  # why rows cannot be run together, though the file runs with one
        self.refused = ""  # what onnxruntime raised for the first sizes with which the file does not run

    def find(self) -> Found | None:
        """Find the batch; None if there is none: then `one_row` or `refused` says why."""
        near: Found | None = None
        for batches in itertools.islice(self._choices(), _MOST):
            described = describe_inputs(self._inputs, batches, self._roles.fixed)
            sizes = self._running_sizes(described)
            if sizes is None:
                continue
            found = Found(batches, described, sizes)
            change, words = self._change_by_company(found)
            if change is not None and (change == 0 or all(each.is_called_batch for each in self._inputs)):
                return found
            if change is not None and change < _QUANTISED and self._is_quantised:
                near = near or found
            self.one_row = self.one_row or words
        return near

    def _change_by_company(self, found: Found) -> tuple[float | None, str]:
        """Run rows together, and each in the file as it is; say how they differ, as a part of what rows differ by.

        The largest difference is 0 if there is rounding alone; None if rows do not run together, or a result has no row
        for each. It is described in words, too.
        """
        worst, words = 0.0, ""
        most = self._roles.sizes.get(BATCH, (1, max(_ROWS)))[1]
        for rows in (min(rows, most) for rows in _ROWS):
            inputs = draw_inputs(found.inputs, np.random.default_rng(rows), {**found.sizes, BATCH: rows})
            try:
                together = self._together(inputs)
                alone = [self._alone(take_row(found.inputs, inputs, row)) for row in range(rows)]
            except RuntimeError as error:
                return None, f"with {rows} rows, {error}"
            for name, array in together.items():
                change = _change(array, [row[name] for row in alone])
                if change is None:
                    shape = alone[0][name].shape
                    hint = ": leave it out (--output)?" if array.shape == shape and len(together) > 1 else ""
                    words = f'"{name}" has the shape {list(array.shape)}, and {list(shape)} for one row'
                    return None, f"with {rows} rows, {words}{hint}"
                if change > worst:
                    how = f"not what the file gives for each alone: it differs by {change:.3g} of what rows differ by"
                    worst, words = change, f'with {rows} rows, "{name}" is {how}'
        return worst, words

    def range_of(self, found: Found, axis: str) -> tuple[int, int] | None:
        """Find the smallest and the largest size of an axis with which the file runs.

        (1, 0) if it runs with any; None if it runs with some sizes, and not with others between these.
        """
        usual = self._run(found.inputs, found.sizes)

        def runs(size: int) -> bool:
            results = self._run(found.inputs, {**found.sizes, axis: size})
            if usual is None or results is None:
                return False
            return all(results[name].ndim == array.ndim for name, array in usual.items())  # a Squeeze may change it

        def last(good: int, bad: int) -> int:
            while abs(good - bad) > 1:
                middle = (good + bad) // 2
                good, bad = (middle, bad) if runs(middle) else (good, middle)
            return good

        size = found.sizes[axis]
        if not all(runs(size + more) for more in (1, 2, 7)):
            return None
        if all(runs(few) for few in (1, 2, 3)):
            return 1, 0
        most, beyond = size + 7, 2 * size
        while beyond <= _LARGEST and runs(beyond):
            most, beyond = beyond, 2 * beyond
        return last(size, 0), _LARGEST if beyond > _LARGEST else last(most, beyond)

    def _choices(self) -> Iterator[dict[str, int]]:
        """List which axis of each input may be the batch; it is the same axis of inputs with like axes."""
        groups: dict[object, list[FileInput]] = {}
        for each in self._inputs:
            sizes = tuple(axis.size for axis in each.tensor.axes)
            groups.setdefault((sizes, each.candidates), []).append(each)
        for chosen in itertools.product(*(members[0].candidates for members in groups.values())):
            pairs = zip(groups.values(), chosen, strict=True)
            yield {each.tensor.name: at for members, at in pairs for each in members}

    def _running_sizes(self, inputs: Sequence[manifest_pb2.Tensor]) -> dict[str, int] | None:
        """Find sizes of the axes but the batch with which one row runs."""
        names = sequence_axes(inputs)
        tried = set()
        for size in (*_SIZES, *(_LONG if len(names) == 1 else ())):
            limits = {name: self._roles.sizes.get(name, (size, size)) for name in names}
            sizes = {name: min(max(size, low), high) for name, (low, high) in limits.items()}
            key = tuple(sizes.values())
            if key not in tried and self._run(inputs, sizes) is not None:
                return sizes
            tried.add(key)
        return None

    def _run(self, inputs: Sequence[manifest_pb2.Tensor], sizes: Mapping[str, int]) -> Arrays | None:
        try:
            return self._alone(draw_inputs(inputs, np.random.default_rng(0), {**sizes, BATCH: 1}))
        except RuntimeError as error:
            self.refused = self.refused or " ".join(str(error).split())
            return None


def _change(found: _Array, rows: Sequence[_Array]) -> float | None:
    """Compare rows that were run together, along an axis of size 1, with each of them alone."""
    shape = rows[0].shape
    if any(row.shape != shape for row in rows):
        return None
    for axis in (at for at, size in enumerate(shape) if size == 1):
        expected = np.concatenate(rows, axis)
        if found.shape == expected.shape and found.dtype == expected.dtype:
            return _part_of_spread(found, expected, axis)
    return None


def _part_of_spread(found: _Array, expected: _Array, axis: int) -> float:
    if found.dtype.kind != "f":
        return 0.0 if np.array_equal(found, expected) else np.inf
    largest = float(distances(found, expected).max(initial=0.0))
    if largest <= EAGER_ROUNDING * scale(expected):
        return 0.0
    spread = float(np.nan_to_num(np.ptp(expected.astype(np.float64), axis=axis)).max(initial=0.0))
    return largest / spread if spread else np.inf
