"""One record per value: its shape, what it depends on along each axis of the inputs, and what its values can be."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.analysis.sizes import Size


class NotCovered(Exception):
    """No rule covers what a node does here."""


class Property(StrEnum):
    """What is decided of a graph, for all values of its inputs."""

    ROWS = "rows"
    """A row of a result depends on no other row, nor on how many there are, nor on its place among them."""
    PADDING = "padding"
    """What a row's result has before its length depends on no step after it, nor on how many there are."""
    CAUSALITY = "causality"
    """A step of a result depends on no later step, nor on how many there are."""


Key = tuple[Property, str]
"""A property, and the dynamic axis in question."""

Place = tuple[int, int]
"""An axis of a tensor, and the number of a factor of its size: reshaping may have joined several axes into one.

Negative axes aren't the tensor's: `LAST` stands for the step after which a value is final, others for the axes that the
loops around a body run over.
"""

LAST: Place = (-1, 0)

NUMBERS = "numbers them"
"""Said of a node that gives each index its number. What reads the numbers decides whether that matters."""
COMPUTES = "numbers them, and their results are computed of that"
BY_NUMBER = "numbers them, and they are read by that"
CUTS = "takes some by their number"
COUNTS = "reads the number of"  # rows, or steps


@dataclasses.dataclass(frozen=True)
class Reach:
    """Which indices of the input's axis the value at index i of a place depends on.

    Attributes:
        exact: Whether on one index only. Otherwise it depends on all up to it.
        offset: That index is i + offset.
        by: The node by which the offset grew last.
    """

    exact: bool = True
    offset: int = 0
    by: str = dataclasses.field(default="", compare=False)

    def then(self, other: "Reach") -> "Reach":
        """Compose: the reach of what reads, as far as `other` says, values that reach as far as this says."""
        by = other.by if other.offset > 0 else self.by
        return Reach(self.exact and other.exact, self.offset + other.offset, by)

    def union(self, other: "Reach") -> "Reach":
        """Give a reach that covers both."""
        further = max(self, other, key=lambda reach: reach.offset)
        return Reach(self.exact and self == other, further.offset, further.by)


@dataclasses.dataclass(frozen=True)
class Reason:
    """A node, and what it does.

    Attributes:
        node: The operator, and the node's name or first result.
        sentence: What a mixing node does. Of a node that isn't decided: what it does with other indices, though what it
            reads there may count for nothing. Empty if no rule covers the node.
    """

    node: str
    sentence: str = ""

    @property
    def is_of_numbers(self) -> bool:
        """Whether it is said of numbers, which count for whatever is computed of them."""
        return self.sentence in (NUMBERS, COMPUTES)


@dataclasses.dataclass(frozen=True)
class Track:
    """How values depend on one axis of the inputs. With no places and no reasons, they do not.

    Attributes:
        places: Where the values lie along that axis, and how far each value reaches.
        mixing: Operators that surely read over the axis.
        undecided: Operators that may read over the axis.
    """

    places: Mapping[Place, Reach] = dataclasses.field(default_factory=dict)
    mixing: tuple[Reason, ...] = ()
    undecided: tuple[Reason, ...] = ()

    @property
    def is_free(self) -> bool:
        """Whether the values do not depend on the axis at all."""
        return not (self.places or self.mixing or self.undecided)

    @property
    def is_lost(self) -> bool:
        """Whether the values depend, or may depend, on more than their own index."""
        return bool(self.mixing or self.undecided)

    def at(self, places: Mapping[Place, Reach]) -> "Track":
        """Give the same track with other places."""
        return Track(places, self.mixing, self.undecided)


FREE = Track()


def not_decided(node: str, sentence: str = "") -> Track:
    """Give the track of values of which nothing is known, or only what a node does with other indices."""
    return Track(undecided=(Reason(node, sentence),))


def join(tracks: Iterable[Track]) -> Track:
    """Give the track of values that are computed from several, index by index."""
    bound = [track for track in tracks if not track.is_free]
    if len(bound) < 2:
        return bound[0] if bound else FREE
    places: dict[Place, Reach] = {}
    mixing: dict[Reason, None] = {}
    undecided: dict[Reason, None] = {}
    for track in bound:
        for place, reach in track.places.items():
            places[place] = places[place].union(reach) if place in places else reach
        mixing |= dict.fromkeys(track.mixing)
        undecided |= dict.fromkeys(track.undecided)
    return Track(places, tuple(mixing), tuple(undecided))


LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True)
class Range:
    """What a tensor's values can be.

    Attributes:
        low: No finite value is smaller.
        high: No finite value is larger.
        finite: Whether every value is finite: if the walk ignores overflow, as long as no number overflows.
    """

    low: float
    high: float
    finite: bool = True

    @property
    def size(self) -> float:
        """The largest magnitude."""
        return max(abs(self.low), abs(self.high))

    def within(self, *, overflows: bool) -> "Range":
        """The same within the numbers of float32. What lies beyond them may be infinite, unless overflow is ignored."""
        if self.size <= LARGEST:
            return self
        return Range(self.low if self.low >= 0 else -LARGEST, LARGEST, self.finite and not overflows)


ANY = Range(-LARGEST, LARGEST, finite=False)
"""Any value, NaN and infinity among them."""


def range_of(array: npt.NDArray[Any]) -> Range:
    """The range of a constant of numbers or booleans."""
    if array.dtype.kind not in "biuf" or not array.size:
        return Range(0.0, 0.0)
    is_finite = np.isfinite(array)
    wholly = bool(is_finite.all())
    finite = array if wholly else array[is_finite]
    return Range(float(finite.min()), float(finite.max()), wholly) if finite.size else Range(0.0, 0.0, finite=False)


def union(ranges: Iterable[Range]) -> Range:
    """Values of any of the ranges."""
    every = list(ranges)
    return Range(min(r.low for r in every), max(r.high for r in every), all(r.finite for r in every))


Axis = tuple[Size, ...]
"""The factors of an axis's size, outermost first: several if reshaping has joined axes."""

Shape = tuple[Axis, ...]

Content = npt.NDArray[Any]
"""The values themselves: numbers, or objects of `Size`."""

ONE = Size.of(1)
_MOST_CONTENT = 4096  # values: no rule looks into larger constants


@dataclasses.dataclass(frozen=True)
class Steps:
    """Values that count along an axis: at index i they are i + offset. `place` is negative for the axis of a loop."""

    place: int
    offset: int = 0


@dataclasses.dataclass(frozen=True)
class Ends:
    """The lengths of rows: along `place` the input that holds those of a sequence axis, plus `offset`."""

    axis: str
    place: int
    offset: int = 0


@dataclasses.dataclass(frozen=True)
class Inside:
    """Whether a step lies before its row's length: true, or 1, before it, and false, or 0, after it.

    Attributes:
        axis: The sequence axis.
        steps: The axis of the tensor along which the steps lie. It is negative for the axis of a loop.
        rows: The axis of the rows.
        inverted: Whether it is the other way round.
    """

    axis: str
    steps: int
    rows: int
    inverted: bool = False


@dataclasses.dataclass(frozen=True)
class Columns:
    """Indices of several axes, side by side in the last axis, or a sequence of tensors."""

    parts: "tuple[Value, ...]"


Pattern = Steps | Ends | Inside | Columns


@dataclasses.dataclass(frozen=True)
class Value:
    """What is known of a tensor.

    Attributes:
        shape: None if not even the number of axes is known.
        tracks: Tracks by property and axis of the inputs. A missing one is free.
        content: The values, if they are known.
        pattern: What they are, if that is known.
        after: The one value that all steps after their row's length have, by sequence axis with lengths. Only in
            tensors that lie along the axis.
        fill: The one number that all values are. None if they differ, or if that isn't known.
        range: What the values can be, except those of `after`. None until the walk has completed the record.
        held: The tensor whose values these are at all steps after their row's length, by sequence axis with lengths,
            inside a loop over it.
        name: Name of the tensor, unique in its graph. It is empty for what a rule makes on the way.
    """

    shape: Shape | None
    tracks: Mapping[Key, Track] = dataclasses.field(default_factory=dict)
    content: Content | None = None
    pattern: Pattern | None = None
    after: Mapping[str, float] = dataclasses.field(default_factory=dict)
    fill: float | None = None
    range: Range | None = None
    held: Mapping[str, str] = dataclasses.field(default_factory=dict)
    name: str = ""

    @property
    def axes(self) -> Shape:
        """The shape. Raises NotCovered if not even the number of axes is known."""
        if self.shape is None:
            raise NotCovered
        return self.shape

    @property
    def rank(self) -> int:
        """The number of axes. Raises NotCovered as `axes` does."""
        return len(self.axes)

    def track(self, key: Key) -> Track:
        """How the values depend on one axis of the inputs."""
        return self.tracks.get(key, FREE)

    @property
    def whole(self) -> Range:
        """What the values can be, those after the rows' lengths included."""
        known = ANY if self.range is None else self.range
        return union([known, *(range_of(np.array(number)) for number in self.after.values())])

    @property
    def few(self) -> Content | None:
        """The content, if it has few values."""
        return self.content if self.content is not None and self.content.size <= _MOST_CONTENT else None

    @property
    def numbers(self) -> list[int] | None:
        """The content, if it is few integers only, flattened."""
        found = self.sizes
        numbers = [] if found is None else [size.number for size in found]
        return None if found is None or None in numbers else [number or 0 for number in numbers]

    @property
    def sizes(self) -> list[Size] | None:
        """The content, if it is few integers or sizes, flattened."""
        if self.few is None:
            return None
        found = self.few.ravel().tolist()
        return None if any(isinstance(each, float | str) for each in found) else [Size.of(each) for each in found]

    @property
    def size_numbers(self) -> list[int] | None:
        """The shape as integers. None if it isn't known, or has more values than `few` allows."""
        numbers = [] if self.shape is None else [size_of(axis).number for axis in self.shape]
        if self.shape is None or None in numbers or math.prod(number or 0 for number in numbers) > _MOST_CONTENT:
            return None
        return [number or 0 for number in numbers]


def plain(sizes: Sequence[Size | int]) -> Shape:
    """Give the shape of axes of one factor each."""
    return tuple((Size.of(size),) for size in sizes)


def size_of(axis: Axis) -> Size:
    """Multiply an axis's factors."""
    return axis[0] if len(axis) == 1 else math.prod(axis, start=ONE)


def constant(array: npt.NDArray[Any], name: str = "") -> Value:
    """Give what is known of a constant of the graph."""
    numeric = array.dtype.kind in "fiub"
    range = range_of(array) if numeric else ANY
    return Value(plain(list(array.shape)), {}, array if numeric else None, fill=fill_of(array), range=range, name=name)


def fill_of(array: Content | None) -> float | None:
    """Give the one number that all values of an array are. None if they differ, or aren't numbers."""
    if array is None or not array.size or array.dtype.kind not in "fiub":
        return None
    first = array.flat[0]
    return float(first) if bool((array == first).all()) else None


def along(value: Value, axis: str) -> int | None:
    """Give the one axis of a tensor that lies along a sequence axis, step by step. None if it isn't known.

    It is negative for that of a loop, of which the tensor is one step.
    """
    track = value.track((Property.PADDING, axis))
    if track.is_lost or len(track.places) != 1:
        return None
    (((at, _), reach),) = track.places.items()
    whole = value.shape is not None and (at < LAST[0] or (at >= 0 and len(value.shape[at]) == 1))
    return at if whole and reach.offset <= 0 else None


def carried(result: Value, value: Value, place: Callable[[int], int | None]) -> Value:
    """Keep in a result what is known of the value whose numbers it has, at other axes.

    Args:
        result: The result, of which shape and tracks are known.
        value: The value.
        place: The axis of the result that an axis of the value has become. None if there is none.
    """

    def moved(at: int | None) -> int | None:
        return at if at is None or at < LAST[0] else place(at)

    after = {
        axis: number
        for axis, number in value.after.items()
        if (before := moved(along(value, axis))) is not None and before == along(result, axis)
    }
    pattern = value.pattern
    if isinstance(pattern, Steps | Ends):
        now = moved(pattern.place)
        is_lost = now is None or (now < 0 and isinstance(pattern, Ends))
        pattern = None if now is None or is_lost else dataclasses.replace(pattern, place=now)
    elif isinstance(pattern, Inside):
        steps, rows = moved(pattern.steps), moved(pattern.rows)
        is_lost = steps is None or rows is None or rows < 0
        pattern = None if is_lost else dataclasses.replace(pattern, steps=steps or 0, rows=rows or 0)
    else:
        pattern = None
    kept = len(after) == len(value.after)
    return dataclasses.replace(
        result,
        pattern=pattern,
        after=after,
        fill=value.fill,
        range=value.range if kept else value.whole,
    )
