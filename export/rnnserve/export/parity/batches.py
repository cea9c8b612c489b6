"""The inputs of the comparison: ordinary inputs at other sizes than the exporter's, and extreme inputs.

Ordinary inputs are single steps, random sequences, and the user's samples. Extreme inputs are a few rows of each kind
in `EXTREMES` (silence, constants, loud and tiny numbers, ties, the ends of ranges), all ids, the shortest and longest
lengths, and long rows. A few rows are enough, because an error at extreme values occurs in every row. Floats stay
within their described bounds, because the module isn't meant for values beyond them.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from rnnserve.export.description.described_model import DescribedModel
from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.description.forward_trials import LONGEST
from rnnserve.export.description.publication import DYNAMIC
from rnnserve.export.tensors import Arrays, Tensors, axis_of, draw_inputs, is_state, shape_of, sizes_near, sizes_of
from rnnserve.protos import manifest_pb2
from rnnserve.protos.protocol_words import BATCH
from rnnserve.protos.recorded_defaults import fill_left_out

_Array = npt.NDArray[Any]

_EXACT = (1.0, 0.5, -1.0, 2.0, 0.25, -0.5, 4.0, -0.125)
"""Constants with exact sums and means, so that their deviation is zero even in float32."""

_STATES = (0.0, 1.0, 30.0)
"""State values by row: zeros as for omitted states, values that saturate gates, and values that saturate a cell."""


_MOST_VALUES = 8
"""Number of values up to which a constant is read. Larger ones are tables instead of numbers from the code."""

_MOVES = frozenset(
    {"Add", "Cast", "Concat", "Gather", "Identity", "Max", "Min", "Mul", "Neg", "Reshape", "Slice", "Squeeze", "Sub"}
    | {"Unsqueeze"}
)
"""Operators through which a size remains a size: an integer small enough to be exact."""

_ROUNDS = frozenset({"Div", "Mod"})
_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16)


@dataclasses.dataclass(frozen=True)
class _Usual:
    """The input of a change: random values (batch, sequence, …) in float64, and the input's bounds if it has any."""

    values: _Array
    low: float | None
    high: float | None
    random: np.random.Generator

    def by_row(self, *values: float) -> _Array:
        """Assign the values to rows in turn."""
        column = np.resize(values, len(self.values)).reshape(-1, *[1] * (self.values.ndim - 1))
        return np.broadcast_to(column, self.values.shape).copy()

    def either(self, some: float | _Array, others: float | _Array) -> _Array:
        """Choose between two values at random, for each element."""
        return np.where(self.random.random(self.values.shape) < 0.5, some, others)


_Change = Callable[[_Usual], _Array]


@dataclasses.dataclass(frozen=True)
class Extreme:
    """A kind of extreme values."""

    text: str  # description for the record
    floats: _Change  # changes the values of a float input, (batch, sequence, …)
    integers: _Change | None = None  # changes an integer input with bounds; None leaves it unchanged
    is_of_states: bool = False  # whether it changes the states instead of other inputs
    needs_bounds: bool = False  # whether it only changes inputs with described bounds
    widens: bool = False  # whether it exceeds the usual range, so it skips floats with bounds

    def applies(self, inputs: Tensors) -> bool:
        """Whether it changes any input."""
        return any(self._change(tensor) is not None for tensor in inputs)

    def of(self, inputs: Tensors, arrays: Arrays, random: np.random.Generator) -> Arrays:
        """Change drawn inputs. Additional values are drawn from the generator."""
        changed = dict(arrays)
        for tensor in inputs:
            change = self._change(tensor)
            if change is None:
                continue
            array = arrays[tensor.name]
            at = axis_of(tensor, BATCH) or 0
            steps = next((n for n, axis in enumerate(tensor.axes) if axis.size == DYNAMIC and axis.name != BATCH), None)
            order = [at, *([] if steps is None else [steps])]
            # Add a sequence axis of one step if a tensor has none, so that all changes see (batch, sequence, …).
            moved = np.moveaxis(array, order, range(len(order)))
            moved = moved[:, None] if steps is None else moved
            low, high = _bounds(tensor)
            values = change(_Usual(moved.astype(np.float64), low, high, random))
            values = values if low is None else np.clip(values, low, high)
            values = values[:, 0] if steps is None else values
            made = np.ascontiguousarray(np.moveaxis(values, range(len(order)), order)).astype(array.dtype)
            # Float64 rounds integers beyond 2 ** 53.
            is_rounded = array.dtype.kind in "iu" and low is not None
            changed[tensor.name] = np.clip(made, low, high) if is_rounded else made
        return changed

    def _change(self, tensor: manifest_pb2.Tensor) -> _Change | None:
        if tensor.lengths_of:
            return None
        is_float = tensor.datatype.startswith("FP")
        if self.is_of_states or is_state(tensor):
            return self.floats if self.is_of_states and is_state(tensor) and is_float else None
        if is_float:
            is_bounded = tensor.HasField("floats")
            return None if (self.needs_bounds and not is_bounded) or (self.widens and is_bounded) else self.floats
        return self.integers if tensor.HasField("integers") or tensor.datatype == "BOOL" else None


def _bounds(tensor: manifest_pb2.Tensor) -> tuple[float | None, float | None]:
    if tensor.HasField("floats"):
        return tensor.floats.low, tensor.floats.high
    if tensor.HasField("integers"):
        return tensor.integers.low, tensor.integers.high - 1
    return (0, 1) if tensor.datatype == "BOOL" else (None, None)


def _zeros(usual: _Usual) -> _Array:
    return np.zeros_like(usual.values)


def _level(usual: _Usual) -> _Array:
    """Rows of one number, and rows with equal steps."""
    alike = np.broadcast_to(usual.values[:, :1], usual.values.shape).copy()
    alike[::2] = alike[::2].reshape(len(alike[::2]), -1)[:, :1].reshape(-1, *[1] * (usual.values.ndim - 1))
    return alike


def _silence(usual: _Usual) -> _Array:
    """Loud steps, a run of zeros, and quiet steps. Without a sequence, some numbers are zero."""
    values = usual.values.copy()
    steps = values.shape[1]
    if steps == 1:
        return usual.either(0, values)
    for row in values:
        start, end = sorted(usual.random.integers(0, steps, size=2))
        row[:start] *= 30
        row[start : end + 1] = 0
        row[end + 1 :] *= 1e-3
    return values


def _zero_runs(usual: _Usual) -> _Array:
    ones = dataclasses.replace(usual, values=np.ones_like(usual.values))
    return np.where(_silence(ones) == 0, 0, usual.values)


def _ends(usual: _Usual) -> _Array:
    if usual.low is None or usual.high is None:
        return usual.values
    ends = usual.either(usual.low, usual.high)
    ends[0], ends[-1] = usual.low, usual.high
    return ends


def _tied_integers(usual: _Usual) -> _Array:
    """Limit each row to two of its drawn values."""
    flat = usual.values.reshape(len(usual.values), -1)
    chosen = np.where(usual.random.random(flat.shape) < 0.5, flat[:, :1], flat[:, -1:])
    return chosen.reshape(usual.values.shape)


EXTREMES: Mapping[str, Extreme] = MappingProxyType(
    {
        "zeros": Extreme("zeros alone", _zeros, _zeros),
        "constant": Extreme(
            "rows of one number that float32 represents exactly",
            lambda usual: usual.by_row(*_EXACT),
            lambda usual: usual.by_row(usual.low or 0, usual.high or 0),
        ),
        "level": Extreme("rows of one arbitrary number, and rows of equal steps", _level),
        "silence": Extreme("runs of zeros between loud and quiet steps", _silence, _zero_runs),
        "tiny": Extreme("about 1e-10, and denormal numbers", lambda usual: usual.values * usual.by_row(1e-10, 1e-40)),
        "loud": Extreme("30 times the usual values", lambda usual: usual.values * 30.0, widens=True),
        "louder": Extreme("1,000 times the usual values", lambda usual: usual.values * 1000.0, widens=True),
        "ends": Extreme("the lowest and the highest value in the spec", _ends, _ends, needs_bounds=True),
        "ties": Extreme(
            "few different values, so many are equal",
            lambda usual: np.clip(np.round(usual.values), -1, 1),
            _tied_integers,
        ),
        "states": Extreme(
            "states of zeros, of 1 and -1, and beyond",
            lambda usual: np.sign(usual.values) * usual.by_row(*_STATES),
            is_of_states=True,
        ),
    }
)
"""The kinds by name, in the order of drawing."""

LOUD_BY_ROW = Extreme(
    "30 and 300 times the usual values, by row", lambda usual: usual.values * usual.by_row(30.0, 300.0), widens=True
)
"""For rows that are both loud and long."""


USUAL = ("step", "random", "sample")
"""The kinds of ordinary inputs, made by `input_batches`."""

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
"""Number of lengths that share all batch sizes, so that each length gets two or three batch sizes."""

_MOST_JUDGED = 16
"""Most batches of extreme values judged together, because their results stay in memory: all ids may need thousands."""

_ROWS, _STEPS = 8, 33
_LONG = {1000: 2, LONGEST: 1}
"""Rows of a long batch, by its number of steps."""

_LONG_AND_LOUD = min(_LONG)
"""Steps of loud rows. A recurrence whose saturated gates amplify rounding shows it after a few hundred steps."""

_UNEVEN = range(35, 1000, 23)
"""Ordinary lengths. An index computed from a size may be wrong at only one length in ten."""

_MOST_ALONE = 64
"""Most rows of one id each, for the ids in a graph's constants and their neighbors."""

_ALL_IDS, _MOST_BATCHES = 1 << 18, 2048
"""Most ids that are all drawn, and most batches for them. Larger vocabularies are sampled with this many ids."""


@dataclasses.dataclass(frozen=True)
class InputBatch:
    """One batch of inputs.

    Attributes:
        kind: One of `USUAL`, as in a manifest's parity record, or a kind of extreme values.
        inputs: Arrays by name, in the order of forward. Values after a row's length are arbitrary.
        rows: The size of the batch axis.
        length: The size of the first sequence axis. 1 for a model without sequence axes.
    """

    kind: str
    inputs: Arrays
    rows: int
    length: int

    @property
    def is_usual(self) -> bool:
        """Whether its values are ordinary."""
        return self.kind in USUAL

    def __str__(self) -> str:
        return f"{self.kind} of batch {self.rows}, sequence {self.length}"


def groups_of(batches: Iterable[InputBatch]) -> Iterator[list[InputBatch]]:
    """Group batches of the same kind and length."""
    groups: dict[tuple[str, int], list[InputBatch]] = {}
    for batch in batches:
        groups.setdefault((batch.kind, batch.length), []).append(batch)
    for group in groups.values():
        most = len(group) if group[0].is_usual else _MOST_JUDGED
        yield from (group[start : start + most] for start in range(0, len(group), most))


def input_batches(model: ModelDescription, seed: int) -> Iterator[InputBatch]:
    """Yield every ordinary batch, within the sizes that the model takes.

    These are: single steps in all batch sizes, sequences of each length, and the samples. For each length, the rows of
    one batch have full length. If there are lengths, the rows of the other batches have mixed lengths.
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
            # Sequence axes get different lengths.
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


@dataclasses.dataclass(eq=False)
class ExtremeBatches:
    """The extreme batches of a model, and the kinds that couldn't be drawn. Deterministic for a model and a seed.

    Some rows repeat one id: an id that the graph names, or its neighbor. If a mask tests for this id, it covers the
    whole row, which random rows don't show.
    """

    model: DescribedModel
    seed: int
    computes_with_sizes: bool = False
    named: Sequence[int] = ()  # integers among the graph's constants
    drawn: dict[str, str] = dataclasses.field(default_factory=dict)  # a description of the values, by kind
    not_drawn: list[str] = dataclasses.field(default_factory=list)  # omitted kinds and reasons, a sentence each

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)
        self._inputs, self._axes, self._sizes = self.model.inputs, self.model.sequence_axes, self.model.sizes
        self._vocabularies = [t for t in self._inputs if t.HasField("integers") and not t.lengths_of]

    def __iter__(self) -> Iterator[InputBatch]:
        sizes = sizes_near(self._sizes, _STEPS, _ROWS)
        for kind, extreme in EXTREMES.items():
            usual = self._draw(sizes, ragged=True)
            if extreme.applies(self._inputs):
                self.drawn[kind] = extreme.text
                yield self._batch(kind, extreme.of(self._inputs, usual, self._random), sizes)
            elif extreme.widens and any(tensor.HasField("floats") for tensor in self._inputs):
                self.not_drawn.append(f"{kind}: the input spec bounds the floats")
        if self.model.allow_non_finite:
            yield from self._not_finite(sizes)
        yield from self._beginning(sizes)
        yield from self._both_lengths(sizes)
        yield from self._ids()
        yield from self._ids_alone()
        yield from self._long()

    def _draw(self, sizes: Mapping[str, int], *, ragged: bool = False) -> Arrays:
        return draw_inputs(self._inputs, self._random, sizes, ragged=ragged and bool(self.model.lengths))

    def _batch(self, kind: str, inputs: Arrays, sizes: Mapping[str, int], axis: str = "") -> InputBatch:
        """Make a batch whose length is the size of an axis, by default the first sequence axis."""
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
        if not self.model.defaults:
            return
        self.drawn[BEGINNING] = "the module's own initial states"
        given = {name: each for name, each in self._draw(sizes, ragged=True).items() if name not in self.model.defaults}
        yield self._batch(BEGINNING, fill_left_out(self._inputs, given, self.model.defaults, sizes), sizes)

    def _both_lengths(self, sizes: Mapping[str, int]) -> Iterator[InputBatch]:
        if not self.model.lengths:
            return
        self.drawn[LENGTHS] = "the shortest and the longest rows alternate"
        arrays = self._draw(sizes)
        for axis, name in self.model.lengths.items():
            ends = [self._sizes[axis][0], sizes[axis]]
            arrays[name] = np.resize(ends, sizes[BATCH]).astype(arrays[name].dtype)
        yield self._batch(LENGTHS, arrays, sizes)

    def _ids(self) -> Iterator[InputBatch]:
        """Draw every id of every vocabulary, or an evenly spread selection of a very large vocabulary."""
        sizes = sizes_near(self._sizes, 64, self._sizes[BATCH][1])
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
        """Draw rows that repeat a single id. The ids are those named in the graph and their neighbors."""
        beside = sorted({number + step for number in self.named for step in (-1, 0, 1)})
        most = self._sizes[BATCH][1]
        for tensor in self._vocabularies:
            low, high = tensor.integers.low, tensor.integers.high
            ids = [number for number in beside if low <= number < high][:_MOST_ALONE]
            for start in range(0, len(ids), most):
                some = ids[start : start + most]
                of_rows = np.resize(some, max(len(some), self._sizes[BATCH][0]))
                sizes = sizes_near(self._sizes, _STEPS, len(of_rows))
                arrays = self._draw(sizes)
                array = arrays[tensor.name]
                by_row = [len(of_rows) if axis.name == BATCH else 1 for axis in tensor.axes]
                arrays[tensor.name] = np.broadcast_to(of_rows.reshape(by_row), array.shape).astype(array.dtype)
                self.drawn[IDS_ALONE] = "rows of one id that occurs in the graph"
                yield self._batch(IDS_ALONE, arrays, sizes)

    def _long(self) -> Iterator[InputBatch]:
        longest = self.model.longest
        for axis in self._axes:
            if longest < LONGEST:
                self.not_drawn.append(
                    f'{LONG}: more than {longest:,} steps of "{axis}", for which the module runs too many operators to '
                    "be compared in some seconds"
                )
            most = self.model.size_limits[axis][1]
            for steps, rows in ({at: _LONG[at] for at in _LONG if at <= longest} or {longest: 1}).items():
                if most is not None and most < steps:
                    self.not_drawn.append(f'{LONG}: {steps:,} steps, but "{axis}" has at most {most:,}')
                    continue
                self.drawn[LONG] = f"up to {steps:,} steps"
                yield self._of_steps(LONG, axis, max(steps, self._sizes[axis][0]), rows)
        for axis in self._axes if LOUD_BY_ROW.applies(self._inputs) else ():
            most = self.model.size_limits[axis][1]
            steps = max(min(_LONG_AND_LOUD, longest, most or _LONG_AND_LOUD), self._sizes[axis][0])
            self.drawn[LONG_AND_LOUD] = f"{LOUD_BY_ROW.text}, {steps:,} steps"
            yield self._of_steps(LONG_AND_LOUD, axis, steps, 2, LOUD_BY_ROW)
        for axis in self._axes:
            low, most = self.model.size_limits[axis]
            for steps in _UNEVEN if self.computes_with_sizes else ():
                if low <= steps <= longest * _UNEVEN.stop // LONGEST and (most is None or steps <= most):
                    self.drawn[UNEVEN] = f"every {_UNEVEN.step}th from {_UNEVEN[0]} on"
                    yield self._of_steps(UNEVEN, axis, steps, 1)

    def _of_steps(self, kind: str, axis: str, steps: int, rows: int, extreme: Extreme | None = None) -> InputBatch:
        sizes = sizes_near(self._sizes, 8, rows) | {axis: steps}
        inputs = self._draw(sizes)
        changed = inputs if extreme is None else extreme.of(self._inputs, inputs, self._random)
        return self._batch(kind, changed, sizes, axis)


def named_integers(model: ir.Model) -> list[int]:
    """Return the integers among the small constants of a graph and its loops, sorted."""
    found: set[int] = set()
    for tensor in _constants(model):
        if tensor.size <= _MOST_VALUES and tensor.dtype in (ir.DataType.INT64, ir.DataType.INT32):
            found.update(tensor.numpy().reshape(-1).tolist())
    return sorted(found)


def computes_with_sizes(model: ir.Model) -> bool:
    """Whether a graph divides a size, converts one to float, or contains Resize, which does so internally."""
    sizes: set[ir.Value | None] = set()
    for node in model.graph.all_nodes():
        if node.op_type == "Resize":
            return True
        if node.op_type in ("Shape", "Size"):
            sizes.update(node.outputs)
        elif not sizes.isdisjoint(node.inputs):
            if node.op_type in _ROUNDS or (node.op_type == "Cast" and node.attributes.get_int("to", 0) in _FLOATS):
                return True
            if node.op_type in _MOVES:
                sizes.update(node.outputs)
    return False


def _constants(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value.const_value
        for node in graph:
            for attribute in node.attributes.values():
                if attribute.type is ir.AttributeType.TENSOR:
                    yield attribute.as_tensor()
