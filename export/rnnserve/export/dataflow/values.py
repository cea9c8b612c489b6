"""What is known of a tensor before anything runs: its shape, what its values depend on, and what they are."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.export.dataflow.sizes import Size
from rnnserve.export.dataflow.tracks import FREE, Key, Track

__all__ = [
    "MOST_CONTENT",
    "Columns",
    "Content",
    "Ends",
    "Inside",
    "NotCovered",
    "Pattern",
    "Shape",
    "Steps",
    "Value",
    "constant",
    "fill_of",
    "flat",
    "plain",
    "size_of",
]


class NotCovered(Exception):
    """No rule covers what a node does here."""


Axis = tuple[Size, ...]
"""The factors of an axis's size, outermost first: several where reshaping has joined axes."""

Shape = tuple[Axis, ...]

Content = npt.NDArray[Any]
"""The values themselves: numbers, or objects of `Size`."""

MOST_CONTENT = 4096  # values; no rule looks into larger constants


@dataclasses.dataclass(frozen=True)
class Steps:
    """Values that count along an axis: at index i they are i + offset.

    Attributes:
        place: The axis; -1 - n for that of a loop, of which a value of the loop's body is one step.
        offset: What index 0 has.
    """

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
    """Whether a step lies before its row's length: true, or 1, there, and false, or 0, after it.

    Attributes:
        axis: The sequence axis.
        steps: Where the steps lie: an axis of the tensor, or -1 - n for that of a loop.
        rows: The axis of the rows.
        inverted: Whether it is the other way round.
    """

    axis: str
    steps: int
    rows: int
    inverted: bool = False


@dataclasses.dataclass(frozen=True)
class Columns:
    """Indices of several axes, side by side in the last axis; or a sequence of tensors.

    Attributes:
        parts: A tensor for each axis, its last axis of size 1; or the tensors of the sequence.
    """

    parts: "tuple[Value, ...]"


Pattern = Steps | Ends | Inside | Columns


@dataclasses.dataclass(frozen=True)
class Value:
    """What is known of a tensor.

    Attributes:
        shape: None where not even the number of axes is known.
        tracks: Tracks by property and axis of the inputs; what is missing is free.
        content: The values, where they are known and few.
        pattern: What they are, where that is known.
        after: The one value that all steps after their row's length have, by sequence axis with lengths. Only in
            tensors that lie along the axis.
        fill: The one number that all values are; None where they differ, or where that is not known.
        finite: Whether all values, but those of `after`, are finite wherever those of the inputs are and none leaves
            its datatype's range.
        held: The tensor whose values these are at all steps after their row's length, by sequence axis with lengths,
            inside a loop over it.
        name: Name of the tensor, unique in its graph; empty for what a rule makes on the way.
    """

    shape: Shape | None
    tracks: Mapping[Key, Track] = dataclasses.field(default_factory=dict)
    content: Content | None = None
    pattern: Pattern | None = None
    after: Mapping[str, float] = dataclasses.field(default_factory=dict)
    fill: float | None = None
    finite: bool = False
    held: Mapping[str, str] = dataclasses.field(default_factory=dict)
    name: str = ""

    @property
    def axes(self) -> Shape:
        """The shape.

        Raises:
            NotCovered: If not even the number of axes is known.
        """
        if self.shape is None:
            raise NotCovered
        return self.shape

    @property
    def rank(self) -> int:
        """The number of axes; raises as `axes` does."""
        return len(self.axes)

    def track(self, key: Key) -> Track:
        """How the values depend on one axis of the inputs."""
        return self.tracks.get(key, FREE)

    @property
    def wholly_finite(self) -> bool:
        """Whether it is finite after the rows' lengths, too."""
        return self.finite and all(map(math.isfinite, self.after.values()))

    @property
    def numbers(self) -> list[int] | None:
        """The content, if it is integers only, flattened."""
        if self.content is None:
            return None
        found = [each.number if isinstance(each, Size) else each for each in self.content.ravel().tolist()]
        if any(each is None or isinstance(each, float) for each in found):
            return None
        return [int(each) for each in found if each is not None]

    @property
    def sizes(self) -> list[Size] | None:
        """The content, if it is integers or sizes, flattened."""
        if self.content is None:
            return None
        found = self.content.ravel().tolist()
        return None if any(isinstance(each, float | str) for each in found) else [Size.of(each) for each in found]


def plain(sizes: Sequence[Size | int]) -> Shape:
    """Give the shape of axes of one factor each."""
    return tuple((Size.of(size),) for size in sizes)


def size_of(axis: Axis) -> Size:
    """Multiply an axis's factors."""
    return axis[0] if len(axis) == 1 else math.prod(axis, start=Size.of(1))


def flat(shape: Shape) -> list[tuple[int, int, Size]]:
    """List all factors of all axes in memory's order: axis, number of the factor in it, size."""
    return [(at, number, size) for at, axis in enumerate(shape) for number, size in enumerate(axis)]


def constant(array: npt.NDArray[Any], name: str = "") -> Value:
    """Give what is known of a constant of the graph."""
    numeric = array.dtype.kind in "fiub"
    finite = bool(numeric and (array.dtype.kind != "f" or np.isfinite(array).all()))
    return Value(
        shape=plain(list(array.shape)),
        content=array if numeric and array.size <= MOST_CONTENT else None,
        fill=fill_of(array),
        finite=finite,
        name=name,
    )


def fill_of(array: Content | None) -> float | None:
    """Give the one number that all values of an array are; None where they differ, or are no numbers."""
    if array is None or not array.size or array.dtype.kind not in "fiub":
        return None
    first = array.flat[0]
    return float(first) if bool((array == first).all()) else None
