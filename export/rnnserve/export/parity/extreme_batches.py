"""The batches of extreme values, compared beside the usual ones: each kind, all ids, both ends of lengths, long rows.

A few rows of each: what goes wrong there goes wrong in every row.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from rnnserve.export.description.described_model import DescribedModel
from rnnserve.export.description.forward_trials import LONGEST
from rnnserve.export.input_drawing import draw_inputs, is_state
from rnnserve.export.module_interface import Arrays
from rnnserve.export.parity.extreme_values import EXTREMES, LOUD_BY_ROW
from rnnserve.export.parity.input_batches import InputBatch
from rnnserve.export.tensor_shapes import shape_of
from rnnserve.protos.protocol_words import BATCH
from rnnserve.protos.recorded_defaults import fill_left_out

__all__ = [
    "BEGINNING",
    "IDS",
    "IDS_ALONE",
    "LENGTHS",
    "LONG",
    "LONG_AND_LOUD",
    "NOT_FINITE",
    "UNEVEN",
    "ExtremeBatches",
]

BEGINNING, IDS, IDS_ALONE, LENGTHS, LONG, LONG_AND_LOUD, NOT_FINITE, UNEVEN = (
    "beginning",
    "ids",
    "ids alone",
    "lengths",
    "long",
    "long and loud",
    "not finite",
    "uneven lengths",
)

_ROWS, _STEPS = 8, 33
_LONG = {1000: 2, LONGEST: 1}
"""Steps, and rows of a batch of so many."""

_LONG_AND_LOUD = min(_LONG)
"""Steps of loud rows: a recurrence that amplifies rounding where its gates saturate shows it after some hundred."""

_UNEVEN = range(35, 1000, 23)
"""Lengths that are nothing special: a place that is computed from a size is another one at one length in ten."""

_MOST_ALONE = 64
"""Rows of one id each: of the ids that a graph names, and their neighbours."""

_ALL_IDS, _MOST_BATCHES = 1 << 18, 2048
"""Up to how many ids each is drawn, in how many batches; of more ids as many are drawn as that."""


class ExtremeBatches:
    """The batches of a model, and what could not be drawn.

    Attributes:
        drawn: Words for what each kind has, by kind.
        not_drawn: What is not drawn, and why, a sentence each.
    """

    def __init__(
        self, model: DescribedModel, seed: int, *, computes_with_sizes: bool = False, named: Sequence[int] = ()
    ) -> None:
        """Look at what the model takes; the same model and seed give the same batches.

        Args:
            model: Model, described.
            seed: Seed of what is drawn.
            computes_with_sizes: Whether its graph does, so that lengths are drawn that are nothing special.
            named: Whole numbers that its graph names, in order: a row of such an id alone, and of those beside it, is
                what a mask may hide.
        """
        self.drawn: dict[str, str] = {}
        self.not_drawn: list[str] = []
        self._model = model
        self._uneven = _UNEVEN if computes_with_sizes else range(0)
        self._named = named
        self._inputs = model.inputs
        self._random = np.random.default_rng(seed)
        self._axes = model.sequence_axes
        self._lengths = model.lengths
        self._limits = model.size_limits

    def __iter__(self) -> Iterator[InputBatch]:
        """Give every batch."""
        sizes = self._sizes(_STEPS) | {BATCH: self._rows(_ROWS)}
        for kind, extreme in EXTREMES.items():
            usual = draw_inputs(self._inputs, self._random, sizes, ragged=bool(self._lengths))
            if extreme.applies(self._inputs):
                self.drawn[kind] = extreme.text
                yield self._batch(kind, extreme.of(self._inputs, usual, self._random), sizes)
            elif extreme.widens and any(tensor.HasField("floats") for tensor in self._inputs):
                self.not_drawn.append(f"{kind}: the description bounds the floats")
        if self._model.allow_non_finite:
            yield from self._not_finite(sizes)
        yield from self._beginning(sizes)
        yield from self._both_lengths(sizes)
        yield from self._ids()
        yield from self._ids_alone()
        yield from self._long()
        yield from self._long_and_loud()
        yield from self._uneven_lengths()

    def _sizes(self, steps: int) -> dict[str, int]:
        """Sizes of the sequence axes near a number of steps, unlike each other."""
        return {axis: int(np.clip(steps + 3 * at, *self._model.sizes[axis])) for at, axis in enumerate(self._axes)}

    def _rows(self, rows: int) -> int:
        return int(np.clip(rows, *self._model.sizes[BATCH]))

    def _batch(self, kind: str, inputs: Arrays, sizes: Mapping[str, int]) -> InputBatch:
        return InputBatch(kind, inputs, sizes[BATCH], sizes[self._axes[0]] if self._axes else 1)

    def _not_finite(self, sizes: Mapping[str, int]) -> Iterator[InputBatch]:
        arrays = draw_inputs(self._inputs, self._random, sizes, ragged=bool(self._lengths))
        for tensor in self._inputs:
            if tensor.datatype.startswith("FP") and not is_state(tensor):
                values = arrays[tensor.name].reshape(-1)
                at = self._random.choice(values.size, size=math.ceil(values.size / 100), replace=False)
                values[at] = self._random.choice([np.nan, np.inf, -np.inf], size=at.size)
                self.drawn[NOT_FINITE] = "NaN and infinity"
        if NOT_FINITE in self.drawn:
            yield self._batch(NOT_FINITE, arrays, sizes)

    def _beginning(self, sizes: Mapping[str, int]) -> Iterator[InputBatch]:
        if not self._model.defaults:
            return
        self.drawn[BEGINNING] = "states with which the module begins"
        arrays = draw_inputs(self._inputs, self._random, sizes, ragged=bool(self._lengths))
        given = {name: array for name, array in arrays.items() if name not in self._model.defaults}
        filled = fill_left_out(self._inputs, given, self._model.defaults, sizes)
        yield self._batch(BEGINNING, filled, sizes)

    def _both_lengths(self, sizes: Mapping[str, int]) -> Iterator[InputBatch]:
        if not self._lengths:
            return
        self.drawn[LENGTHS] = "the shortest and the longest rows in turn"
        arrays = draw_inputs(self._inputs, self._random, sizes)
        for axis, name in self._lengths.items():
            ends = [self._model.sizes[axis][0], sizes[axis]]
            arrays[name] = np.resize(ends, sizes[BATCH]).astype(arrays[name].dtype)
        yield self._batch(LENGTHS, arrays, sizes)

    def _ids(self) -> Iterator[InputBatch]:
        """Draw every id of every vocabulary, or as many as are spread over a very large one."""
        tensors = [t for t in self._inputs if t.HasField("integers") and not t.lengths_of]
        if not tensors:
            return
        sizes = self._sizes(64) | {BATCH: self._model.sizes[BATCH][1]}
        wanted: dict[str, np.ndarray] = {}
        count = 0
        for tensor in tensors:
            low, high = tensor.integers.low, tensor.integers.high
            of_a_batch = max(math.prod(shape_of(tensor, sizes)), 1)
            most = min(_ALL_IDS, of_a_batch * _MOST_BATCHES)
            if high - low <= most:
                wanted[tensor.name] = np.arange(low, high)
                said = f'all {high - low:,} of "{tensor.name}"'
            else:
                wanted[tensor.name] = low + (np.arange(most, dtype=object) * (high - 1 - low) // (most - 1)).astype(int)
                said = f'{most:,} of "{tensor.name}", evenly spread from {low:,} to {high - 1:,}'
                self.not_drawn.append(f'{IDS}: all {high - low:,} of "{tensor.name}"; {most:,} of them are')
            self.drawn[IDS] = f"{self.drawn[IDS]}; {said}" if IDS in self.drawn else said
            count = max(count, -(-wanted[tensor.name].size // of_a_batch))
        for number in range(count):
            arrays = draw_inputs(self._inputs, self._random, sizes)
            for tensor in tensors:
                array = arrays[tensor.name]
                at = np.arange(number * array.size, (number + 1) * array.size)
                ids = np.take(wanted[tensor.name], at, mode="wrap")
                arrays[tensor.name] = ids.reshape(array.shape).astype(array.dtype)
            yield self._batch(IDS, arrays, sizes)

    def _ids_alone(self) -> Iterator[InputBatch]:
        """Draw rows that hold one id each, of those that the graph names and those beside them."""
        tensors = [t for t in self._inputs if t.HasField("integers") and not t.lengths_of]
        beside = sorted({number + step for number in self._named for step in (-1, 0, 1)})
        most = self._model.sizes[BATCH][1]
        for tensor in tensors:
            low, high = tensor.integers.low, tensor.integers.high
            ids = [number for number in beside if low <= number < high][:_MOST_ALONE]
            for start in range(0, len(ids), most):
                some = ids[start : start + most]
                of_rows = np.resize(some, max(len(some), self._rows(1)))
                sizes = self._sizes(_STEPS) | {BATCH: len(of_rows)}
                arrays = draw_inputs(self._inputs, self._random, sizes)
                array = arrays[tensor.name]
                by_row = [len(of_rows) if axis.name == BATCH else 1 for axis in tensor.axes]
                arrays[tensor.name] = np.broadcast_to(of_rows.reshape(by_row), array.shape).astype(array.dtype)
                self.drawn[IDS_ALONE] = "rows of one id, of those that the graph names"
                yield self._batch(IDS_ALONE, arrays, sizes)

    def _long(self) -> Iterator[InputBatch]:
        for axis in self._axes:
            most = self._limits[axis][1]
            for steps, rows in self._steps_of_long(axis).items():
                if most is not None and most < steps:
                    self.not_drawn.append(f'{LONG}: {steps:,} steps, of "{axis}" there are at most {most:,}')
                    continue
                sizes = self._sizes(8) | {axis: max(steps, self._model.sizes[axis][0]), BATCH: self._rows(rows)}
                self.drawn[LONG] = f"up to {steps:,} steps"
                inputs = draw_inputs(self._inputs, self._random, sizes)
                yield dataclasses.replace(self._batch(LONG, inputs, sizes), length=sizes[axis])

    def _long_and_loud(self) -> Iterator[InputBatch]:
        if not LOUD_BY_ROW.applies(self._inputs):
            return
        for axis in self._axes:
            most = self._limits[axis][1]
            steps = min(_LONG_AND_LOUD, self._model.longest, _LONG_AND_LOUD if most is None else most)
            sizes = self._sizes(8) | {axis: max(steps, self._model.sizes[axis][0]), BATCH: self._rows(2)}
            self.drawn[LONG_AND_LOUD] = f"{LOUD_BY_ROW.text}, {sizes[axis]:,} steps"
            usual = draw_inputs(self._inputs, self._random, sizes)
            inputs = LOUD_BY_ROW.of(self._inputs, usual, self._random)
            yield dataclasses.replace(self._batch(LONG_AND_LOUD, inputs, sizes), length=sizes[axis])

    def _steps_of_long(self, axis: str) -> dict[int, int]:
        """Give the steps of long sequences, each with its rows: fewer where so many would take minutes."""
        longest = self._model.longest
        if longest < LONGEST:
            self.not_drawn.append(
                f'{LONG}: more than {longest:,} steps of "{axis}", for which the module runs too many operators to be '
                "compared in some seconds"
            )
        return {steps: rows for steps, rows in _LONG.items() if steps <= longest} or {longest: 1}

    def _uneven_lengths(self) -> Iterator[InputBatch]:
        for axis in self._axes:
            low, high = self._limits[axis]
            for steps in self._uneven:
                if low <= steps <= self._model.longest * _UNEVEN.stop // LONGEST and (high is None or steps <= high):
                    sizes = self._sizes(8) | {axis: steps, BATCH: self._rows(1)}
                    self.drawn[UNEVEN] = f"every {self._uneven.step}th from {self._uneven[0]} on"
                    inputs = draw_inputs(self._inputs, self._random, sizes)
                    yield dataclasses.replace(self._batch(UNEVEN, inputs, sizes), length=steps)
