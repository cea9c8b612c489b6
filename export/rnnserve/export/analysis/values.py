"""The record of a value: its shape, its dependence on each axis of the inputs, and the range of its values."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.analysis.sizes import Size


class NotCovered(Exception):
    """No rule covers the behavior of a node in this graph."""


class Property(StrEnum):
    """A property of a graph, decided for all values of its inputs."""

    ROWS = "rows"
    """A row of a result doesn't depend on other rows, on how many there are, or on its place among them."""
    PADDING = "padding"
    """The steps of a result before a row's length don't depend on steps after it, or on how many there are."""
    CAUSALITY = "causality"
    """A step of a result depends on no later step, and not on how many steps there are."""


Key = tuple[Property, str]
"""A property, and the dynamic axis in question."""

Place = tuple[int, int]
"""An axis of a tensor, and the index of a factor of its size. Reshaping may have joined several axes into one.

Negative axes don't belong to the tensor: `LAST` is the step after which a value is final, and the others are the axes
over which enclosing loops run.
"""

LAST: Place = (-1, 0)

NUMBERS = "numbers them"
"""The reason for a node that numbers its indices. The node that reads the numbers decides whether this matters."""
COMPUTES = "numbers them, and computes their results from the numbers"
BY_NUMBER = "numbers them, and reads them by number"
CUTS = "takes some by their number"
COUNTS = "reads the number of"  # completed by "rows" or "steps"


@dataclasses.dataclass(frozen=True)
class Reach:
    """How far a value reaches along an axis of the input: index i of a place depends on index i + offset."""

    exact: bool = True  # if False, on all indices up to i + offset
    offset: int = 0
    by: str = dataclasses.field(default="", compare=False)  # the node that last increased the offset

    def then(self, other: "Reach") -> "Reach":
        """Compose two reaches: `other` reads values that already have this reach."""
        by = other.by if other.offset > 0 else self.by
        return Reach(self.exact and other.exact, self.offset + other.offset, by)

    def union(self, other: "Reach") -> "Reach":
        """Return a reach that covers both."""
        further = max(self, other, key=lambda reach: reach.offset)
        return Reach(self.exact and self == other, further.offset, further.by)


@dataclasses.dataclass(frozen=True)
class Reason:
    """A node (its operator and name) and the sentence about it in a decision.

    If a property isn't decided, the sentence describes how the node uses other indices, though this may not affect the
    result. The sentence is empty if no rule covers the node.
    """

    node: str
    sentence: str = ""

    @property
    def is_of_numbers(self) -> bool:
        """Whether the node numbers rows or steps. The numbers affect anything computed from them."""
        return self.sentence in (NUMBERS, COMPUTES)


@dataclasses.dataclass(frozen=True)
class Track:
    """How values depend on one axis of the inputs. Without places and reasons, they don't depend on it."""

    # The places of the values along that axis, and how far each value reaches.
    places: Mapping[Place, Reach] = dataclasses.field(default_factory=dict)
    mixing: tuple[Reason, ...] = ()  # operators that certainly read across the axis
    undecided: tuple[Reason, ...] = ()  # operators that may read across the axis

    @property
    def is_free(self) -> bool:
        """Whether the values don't depend on the axis at all."""
        return not (self.places or self.mixing or self.undecided)

    @property
    def is_lost(self) -> bool:
        """Whether the values depend, or may depend, on other indices than their own."""
        return bool(self.mixing or self.undecided)

    def at(self, places: Mapping[Place, Reach]) -> "Track":
        """Return the same track with other places."""
        return Track(places, self.mixing, self.undecided)


FREE = Track()


def not_decided(node: str, sentence: str = "") -> Track:
    """Return the track of an undecided dependence. `sentence` describes how the node uses other indices, if known."""
    return Track(undecided=(Reason(node, sentence),))


def join(tracks: Iterable[Track]) -> Track:
    """Return the track of values computed from several tracks, index by index."""
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
    """The range of a tensor's values: every finite value lies between `low` and `high`."""

    low: float
    high: float
    finite: bool = True  # whether every value is finite

    @property
    def size(self) -> float:
        """The largest magnitude."""
        return max(abs(self.low), abs(self.high))

    @property
    def limited(self) -> "Range":
        """The range clipped to the numbers of float32. Values beyond them may be infinite."""
        if self.size <= LARGEST:
            return self
        return Range(self.low if self.low >= 0 else -LARGEST, LARGEST, finite=False)


ANY = Range(-LARGEST, LARGEST, finite=False)
"""Any value, including NaN and infinity."""


def range_of(array: npt.NDArray[Any]) -> Range:
    """Return the range of a constant of numbers or booleans."""
    if array.dtype.kind not in "biuf" or not array.size:
        return Range(0.0, 0.0)
    is_finite = np.isfinite(array)
    wholly = bool(is_finite.all())
    finite = array if wholly else array[is_finite]
    return Range(float(finite.min()), float(finite.max()), wholly) if finite.size else Range(0.0, 0.0, finite=False)


def union(ranges: Iterable[Range]) -> Range:
    """Return the smallest range that covers all of the ranges."""
    every = list(ranges)
    return Range(min(r.low for r in every), max(r.high for r in every), all(r.finite for r in every))


Axis = tuple[Size, ...]
"""The factors of an axis's size, outermost first. There are several if reshaping joined axes."""

Shape = tuple[Axis, ...]

Content = npt.NDArray[Any]
"""The values themselves: numbers, or `Size` objects."""

ONE = Size.of(1)
_MOST_CONTENT = 4096  # values; no rule reads larger constants


@dataclasses.dataclass(frozen=True)
class Steps:
    """Values that count along an axis: i + offset at index i. `place` is negative for the axis of a loop."""

    place: int
    offset: int = 0


@dataclasses.dataclass(frozen=True)
class Ends:
    """The lengths of rows along `place`, plus `offset`. They come from the lengths input of a sequence axis."""

    axis: str
    place: int
    offset: int = 0


@dataclasses.dataclass(frozen=True)
class Inside:
    """Whether a step of a sequence axis lies before its row's length."""

    axis: str
    steps: int  # the tensor's axis along which the steps lie; negative for the axis of a loop
    rows: int
    inverted: bool = False


@dataclasses.dataclass(frozen=True)
class Columns:
    """Indices of several axes, side by side in the last axis, or a sequence of tensors."""

    parts: "tuple[Value, ...]"


Pattern = Steps | Ends | Inside | Columns


@dataclasses.dataclass(frozen=True)
class Value:
    """The record of a tensor. The shape is None if the number of axes is unknown."""

    shape: Shape | None
    tracks: Mapping[Key, Track] = dataclasses.field(default_factory=dict)  # a missing track is free
    content: Content | None = None  # the values, if known
    pattern: Pattern | None = None
    fill: float | None = None  # the number that all values are equal to, if known
    masked: bool = False  # whether a mask may have removed the values after the rows' lengths
    range: Range | None = None  # None if it isn't computed
    # In a loop: the tensor from which the values after each row's length come, by sequence axis with lengths.
    held: Mapping[str, str] = dataclasses.field(default_factory=dict)
    name: str = ""  # unique in its graph; empty for intermediate results of a rule

    @property
    def axes(self) -> Shape:
        """The shape. Raises NotCovered if the number of axes is unknown."""
        if self.shape is None:
            raise NotCovered
        return self.shape

    @property
    def rank(self) -> int:
        """The number of axes. Raises NotCovered if it is unknown."""
        return len(self.axes)

    def track(self, key: Key) -> Track:
        """Return how the values depend on one axis of the inputs."""
        return self.tracks.get(key, FREE)

    @property
    def whole(self) -> Range:
        """The range of the values, which is `ANY` if it isn't known."""
        return ANY if self.range is None else self.range

    @property
    def few(self) -> Content | None:
        """The content, if it has few values."""
        return self.content if self.content is not None and self.content.size <= _MOST_CONTENT else None

    @property
    def numbers(self) -> list[int] | None:
        """The content, flattened, if it consists of a few integers."""
        found = self.sizes
        numbers = [] if found is None else [size.number for size in found]
        return None if found is None or None in numbers else [number or 0 for number in numbers]

    @property
    def sizes(self) -> list[Size] | None:
        """The content, flattened, if it consists of a few integers or sizes."""
        if self.few is None:
            return None
        found = self.few.ravel().tolist()
        return None if any(isinstance(each, float | str) for each in found) else [Size.of(each) for each in found]

    @property
    def size_numbers(self) -> list[int] | None:
        """The shape as integers. None if it isn't known, or if there are more values than `few` allows."""
        numbers = [] if self.shape is None else [size_of(axis).number for axis in self.shape]
        if self.shape is None or None in numbers or math.prod(number or 0 for number in numbers) > _MOST_CONTENT:
            return None
        return [number or 0 for number in numbers]


def symbolic(sizes: Sequence[Size]) -> Content:
    """Return an array of sizes (n,). It holds integers if all sizes are constant."""
    numbers = [size.number for size in sizes]
    if None not in numbers:
        return np.array(numbers, np.int64)
    content = np.empty(len(sizes), object)
    content[:] = sizes
    return content


def plain(sizes: Sequence[Size | int]) -> Shape:
    """Return the shape with axes of one factor each."""
    return tuple((Size.of(size),) for size in sizes)


def size_of(axis: Axis) -> Size:
    """Multiply an axis's factors."""
    return axis[0] if len(axis) == 1 else math.prod(axis, start=ONE)


def constant(array: npt.NDArray[Any], name: str = "") -> Value:
    """Return the record of a constant."""
    numeric = array.dtype.kind in "fiub"
    range = range_of(array) if numeric else ANY
    return Value(plain(list(array.shape)), {}, array if numeric else None, fill=fill_of(array), range=range, name=name)


def fill_of(array: Content | None) -> float | None:
    """Return the number that all values of an array are equal to. None if they differ or aren't numbers."""
    if array is None or not array.size or array.dtype.kind not in "fiub":
        return None
    first = array.flat[0]
    return float(first) if bool((array == first).all()) else None


def along(value: Value, axis: str) -> int | None:
    """Return the axis of a tensor that lies along a sequence axis, step by step. None if it isn't known.

    It is negative if the tensor is one step of a loop over that axis.
    """
    track = value.track((Property.PADDING, axis))
    if track.is_lost or len(track.places) != 1:
        return None
    (((at, _), reach),) = track.places.items()
    whole = value.shape is not None and (at < LAST[0] or (at >= 0 and len(value.shape[at]) == 1))
    return at if whole and reach.offset <= 0 else None


def carried(result: Value, value: Value, place: Callable[[int], int | None]) -> Value:
    """Copy knowledge about a value to a result that holds the same numbers at other axes.

    `place` maps an axis of the value to its axis in the result, or to None.
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
