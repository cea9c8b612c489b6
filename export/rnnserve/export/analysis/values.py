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
    """Which indices of the input's axis the value at index i of a place depends on: on i + offset."""

    exact: bool = True  # otherwise on all indices up to that one, too
    offset: int = 0
    by: str = dataclasses.field(default="", compare=False)  # the node by which the offset grew last

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
    """A node, as its operator and its name, and what it does.

    A sentence of a node that isn't decided is what it does with other indices, though what it reads there may count for
    nothing. It is empty if no rule covers the node.
    """

    node: str
    sentence: str = ""

    @property
    def is_of_numbers(self) -> bool:
        """Whether it is said of numbers, which count for whatever is computed of them."""
        return self.sentence in (NUMBERS, COMPUTES)


@dataclasses.dataclass(frozen=True)
class Track:
    """How values depend on one axis of the inputs. With no places and no reasons, they do not."""

    # Where they lie along that axis, and how far each value reaches.
    places: Mapping[Place, Reach] = dataclasses.field(default_factory=dict)
    mixing: tuple[Reason, ...] = ()  # operators that surely read over the axis
    undecided: tuple[Reason, ...] = ()  # operators that may read over it

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
    """What a tensor's values can be: no finite value is smaller than `low`, or larger than `high`."""

    low: float
    high: float
    finite: bool = True  # whether every value is

    @property
    def size(self) -> float:
        """The largest magnitude."""
        return max(abs(self.low), abs(self.high))

    @property
    def limited(self) -> "Range":
        """The same within the numbers of float32. What lies beyond them may be infinite."""
        if self.size <= LARGEST:
            return self
        return Range(self.low if self.low >= 0 else -LARGEST, LARGEST, finite=False)


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
    """Whether a step of a sequence axis lies before its row's length."""

    axis: str
    steps: int  # the axis of the tensor along which the steps lie: negative for the axis of a loop
    rows: int
    inverted: bool = False


@dataclasses.dataclass(frozen=True)
class Columns:
    """Indices of several axes, side by side in the last axis, or a sequence of tensors."""

    parts: "tuple[Value, ...]"


Pattern = Steps | Ends | Inside | Columns


@dataclasses.dataclass(frozen=True)
class Value:
    """What is known of a tensor. The shape is None if not even the number of axes is known."""

    shape: Shape | None
    tracks: Mapping[Key, Track] = dataclasses.field(default_factory=dict)  # a missing one is free
    content: Content | None = None  # the values, if they are known
    pattern: Pattern | None = None
    fill: float | None = None  # the one number that all values are, if it is known
    masked: bool = False  # whether a mask of lengths may have taken out what lies after the rows' lengths
    range: Range | None = None  # None if it isn't computed
    # The tensor whose values these are at all steps after their row's length, by sequence axis with lengths, in a loop.
    held: Mapping[str, str] = dataclasses.field(default_factory=dict)
    name: str = ""  # unique in its graph; empty for what a rule makes on the way

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
        """What the values can be."""
        return ANY if self.range is None else self.range

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


def symbolic(sizes: Sequence[Size]) -> Content:
    """Give an array of sizes (n,), of integers if all are."""
    numbers = [size.number for size in sizes]
    if None not in numbers:
        return np.array(numbers, np.int64)
    content = np.empty(len(sizes), object)
    content[:] = sizes
    return content


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

    `place` gives the axis of the result that an axis of the value has become, or None.
    """

    def moved(at: int) -> int | None:
        return at if at < LAST[0] else place(at)

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
    return dataclasses.replace(result, pattern=pattern, fill=value.fill, masked=value.masked, range=value.range)
