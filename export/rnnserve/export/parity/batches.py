"""The inputs that are compared: ordinary ones at sizes unlike the exporter's, and extreme ones.

Ordinary are single steps, drawn sequences, and given samples. Extreme are a few rows of each kind of `extreme_values`,
all ids, both ends of lengths, and long rows: what goes wrong there goes wrong in every row.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from rnnserve.export.description.described_model import DescribedModel
from rnnserve.export.description.forward_trials import LONGEST
from rnnserve.export.parity.extreme_values import EXTREMES, LOUD_BY_ROW, Extreme
from rnnserve.export.tensors import Arrays, draw_inputs, is_state, shape_of, sizes_of
from rnnserve.protos.protocol_words import BATCH
from rnnserve.protos.recorded_defaults import fill_left_out

__all__ = [
    "IDS",
    "LENGTHS",
    "LONG",
    "LONG_AND_LOUD",
    "NOT_FINITE",
    "USUAL",
    "ExtremeBatches",
    "InputBatch",
    "groups_of",
    "input_batches",
]

USUAL = ("step", "random", "sample")
"""The kinds of ordinary inputs, which `input_batches` gives."""

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

_LENGTHS = (2, 3, 4, 5, 8, 13, 16, 31, 32, 33, 64, 100, 128)
_TOGETHER = 12
"""Lengths that have all batch sizes together, so that each length has two or three (docs/lab/findings.md, "What
publishing costs")."""

_MOST_JUDGED = 16
"""Batches of extreme values that are judged together, so that memory holds their results: all ids may be thousands."""

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


@dataclasses.dataclass(frozen=True)
class InputBatch:
    """One batch of inputs.

    Attributes:
        kind: One of `USUAL`, as in a manifest's parity record; or a kind of extreme values.
        inputs: Arrays by name, in the order of forward. Values after a row's length are arbitrary.
        rows: The size of the batch axis.
        length: The size of the first sequence axis; 1 for a model without any.
    """

    kind: str
    inputs: Arrays
    rows: int
    length: int

    @property
    def is_usual(self) -> bool:
        """Whether its values are ordinary ones."""
        return self.kind in USUAL

    def __str__(self) -> str:
        return f"{self.kind} of batch {self.rows}, sequence {self.length}"


def groups_of(batches: Iterable[InputBatch]) -> Iterator[list[InputBatch]]:
    """Put batches of one kind and length together."""
    groups: dict[tuple[str, int], list[InputBatch]] = {}
    for batch in batches:
        groups.setdefault((batch.kind, batch.length), []).append(batch)
    for group in groups.values():
        most = len(group) if group[0].is_usual else _MOST_JUDGED
        yield from (group[start : start + most] for start in range(0, len(group), most))


def input_batches(model: DescribedModel, seed: int) -> Iterator[InputBatch]:
    """Give every ordinary batch, all within the sizes that the model takes.

    Single steps of all batch sizes; sequences of each length, the rows of one batch full and, where there are lengths,
    of the others ragged; the samples.
    """
    random = np.random.default_rng(seed)
    axes = model.sequence_axes
    least, most = model.sizes[BATCH]
    batches = range(least, most + 1)
    if all(model.sizes[axis][0] <= 1 for axis in axes):
        for batch in batches:
            sizes = dict.fromkeys(axes, 1) | {BATCH: batch}
            yield InputBatch("step", draw_inputs(model.inputs, random, sizes), batch, 1)
    if axes:
        by_axis = {axis: _lengths(*model.sizes[axis]) for axis in axes}
        lengths = max(map(len, by_axis.values()))
        together = min(max(3, min(_TOGETHER, lengths)), len(batches))
        for number in range(lengths):
            # Several axes have lengths unlike each other.
            sizes = {axis: by_axis[axis][(number + 3 * at) % len(by_axis[axis])] for at, axis in enumerate(axes)}
            for position, batch in enumerate(batches[number % together :: together]):
                ragged = bool(model.lengths) and position != (number + 1) % 2
                inputs = draw_inputs(model.inputs, random, sizes | {BATCH: batch}, ragged=ragged)
                yield InputBatch("random", inputs, batch, sizes[axes[0]])
    for sample in model.samples:
        sizes = sizes_of(model.inputs, sample)
        yield InputBatch("sample", sample, sizes[BATCH], sizes[axes[0]] if axes else 1)


def _lengths(least: int, most: int) -> list[int]:
    return [length for length in _LENGTHS if least <= length <= most] or sorted({least, most})


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

        A mask may hide what a row does of one id alone that the graph names, or of an id beside it.
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
        self._vocabularies = [t for t in model.inputs if t.HasField("integers") and not t.lengths_of]

    def __iter__(self) -> Iterator[InputBatch]:
        sizes = self._sizes(_STEPS)
        for kind, extreme in EXTREMES.items():
            usual = self._draw(sizes, ragged=True)
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

    def _sizes(self, steps: int, rows: int = _ROWS) -> dict[str, int]:
        """Sizes of the sequence axes near a number of steps, unlike each other, and of the batch near one of rows."""
        sizes = {axis: int(np.clip(steps + 3 * at, *self._model.sizes[axis])) for at, axis in enumerate(self._axes)}
        return sizes | {BATCH: int(np.clip(rows, *self._model.sizes[BATCH]))}

    def _draw(self, sizes: Mapping[str, int], *, ragged: bool = False) -> Arrays:
        return draw_inputs(self._inputs, self._random, sizes, ragged=ragged and bool(self._lengths))

    def _batch(self, kind: str, inputs: Arrays, sizes: Mapping[str, int], axis: str = "") -> InputBatch:
        """Give a batch, whose length is the size of an axis: the first if none is named."""
        axes = [axis] if axis else self._axes[:1]
        return InputBatch(kind, inputs, sizes[BATCH], sizes[axes[0]] if axes else 1)

    def _not_finite(self, sizes: Mapping[str, int]) -> Iterator[InputBatch]:
        arrays = self._draw(sizes, ragged=True)
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
        given = {
            name: each for name, each in self._draw(sizes, ragged=True).items() if name not in self._model.defaults
        }
        yield self._batch(BEGINNING, fill_left_out(self._inputs, given, self._model.defaults, sizes), sizes)

    def _both_lengths(self, sizes: Mapping[str, int]) -> Iterator[InputBatch]:
        if not self._lengths:
            return
        self.drawn[LENGTHS] = "the shortest and the longest rows in turn"
        arrays = self._draw(sizes)
        for axis, name in self._lengths.items():
            ends = [self._model.sizes[axis][0], sizes[axis]]
            arrays[name] = np.resize(ends, sizes[BATCH]).astype(arrays[name].dtype)
        yield self._batch(LENGTHS, arrays, sizes)

    def _ids(self) -> Iterator[InputBatch]:
        """Draw every id of every vocabulary, or as many as are spread over a very large one."""
        sizes = self._sizes(64, self._model.sizes[BATCH][1])
        wanted: dict[str, np.ndarray] = {}
        said, count = [], 0
        for tensor in self._vocabularies:
            low, high = tensor.integers.low, tensor.integers.high
            of_a_batch = max(math.prod(shape_of(tensor, sizes)), 1)
            most = min(_ALL_IDS, of_a_batch * _MOST_BATCHES)
            if high - low <= most:
                wanted[tensor.name] = np.arange(low, high)
                said.append(f'all {high - low:,} of "{tensor.name}"')
            else:
                wanted[tensor.name] = low + (np.arange(most, dtype=object) * (high - 1 - low) // (most - 1)).astype(int)
                said.append(f'{most:,} of "{tensor.name}", evenly spread from {low:,} to {high - 1:,}')
                self.not_drawn.append(f'{IDS}: all {high - low:,} of "{tensor.name}"; {most:,} of them are')
            self.drawn[IDS] = "; ".join(said)
            count = max(count, -(-wanted[tensor.name].size // of_a_batch))
        for number in range(count):
            arrays = self._draw(sizes)
            for name, ids in wanted.items():
                array = arrays[name]
                at = np.arange(number * array.size, (number + 1) * array.size)
                arrays[name] = np.take(ids, at, mode="wrap").reshape(array.shape).astype(array.dtype)
            yield self._batch(IDS, arrays, sizes)

    def _ids_alone(self) -> Iterator[InputBatch]:
        """Draw rows that hold one id each, of those that the graph names and those beside them."""
        beside = sorted({number + step for number in self._named for step in (-1, 0, 1)})
        most = self._model.sizes[BATCH][1]
        for tensor in self._vocabularies:
            low, high = tensor.integers.low, tensor.integers.high
            ids = [number for number in beside if low <= number < high][:_MOST_ALONE]
            for start in range(0, len(ids), most):
                some = ids[start : start + most]
                of_rows = np.resize(some, max(len(some), self._model.sizes[BATCH][0]))
                sizes = self._sizes(_STEPS) | {BATCH: len(of_rows)}
                arrays = self._draw(sizes)
                array = arrays[tensor.name]
                by_row = [len(of_rows) if axis.name == BATCH else 1 for axis in tensor.axes]
                arrays[tensor.name] = np.broadcast_to(of_rows.reshape(by_row), array.shape).astype(array.dtype)
                self.drawn[IDS_ALONE] = "rows of one id, of those that the graph names"
                yield self._batch(IDS_ALONE, arrays, sizes)

    def _long(self) -> Iterator[InputBatch]:
        longest = self._model.longest
        for axis in self._axes:
            if longest < LONGEST:
                self.not_drawn.append(
                    f'{LONG}: more than {longest:,} steps of "{axis}", for which the module runs too many operators to '
                    "be compared in some seconds"
                )
            most = self._limits[axis][1]
            for steps, rows in ({at: _LONG[at] for at in _LONG if at <= longest} or {longest: 1}).items():
                if most is not None and most < steps:
                    self.not_drawn.append(f'{LONG}: {steps:,} steps, of "{axis}" there are at most {most:,}')
                    continue
                self.drawn[LONG] = f"up to {steps:,} steps"
                yield self._of_steps(LONG, axis, max(steps, self._model.sizes[axis][0]), rows)
        for axis in self._axes if LOUD_BY_ROW.applies(self._inputs) else ():
            most = self._limits[axis][1]
            steps = max(min(_LONG_AND_LOUD, longest, most or _LONG_AND_LOUD), self._model.sizes[axis][0])
            self.drawn[LONG_AND_LOUD] = f"{LOUD_BY_ROW.text}, {steps:,} steps"
            yield self._of_steps(LONG_AND_LOUD, axis, steps, 2, LOUD_BY_ROW)
        for axis in self._axes:
            low, most = self._limits[axis]
            for steps in self._uneven:
                if low <= steps <= longest * _UNEVEN.stop // LONGEST and (most is None or steps <= most):
                    self.drawn[UNEVEN] = f"every {self._uneven.step}th from {self._uneven[0]} on"
                    yield self._of_steps(UNEVEN, axis, steps, 1)

    def _of_steps(self, kind: str, axis: str, steps: int, rows: int, extreme: Extreme | None = None) -> InputBatch:
        sizes = self._sizes(8, rows) | {axis: steps}
        inputs = self._draw(sizes)
        changed = inputs if extreme is None else extreme.of(self._inputs, inputs, self._random)
        return self._batch(kind, changed, sizes, axis)
