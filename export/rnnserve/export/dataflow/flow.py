"""How dependences pass through an operator, told by which axis of a result each axis of an input becomes.

Rules say for each axis of each input how it is read (`At`, `Over`, …), and what the result's shape is. Here is what
follows for rows, padding and causality: the same for all operators.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Sequence

from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.sizes import Size, named
from rnnserve.export.dataflow.tracks import FREE, LAST, SAME, Key, Property, Reach, Reason, Track, join, not_decided
from rnnserve.export.dataflow.values import Axis, Shape, Value, size_of
from rnnserve.protos.protocol_words import BATCH

__all__ = ["At", "First", "Last", "Over", "Read", "Source", "created", "flow", "guarded", "numbered"]


@dataclasses.dataclass(frozen=True)
class At:
    """The values at an index of this axis reach the result's values at the same index of one axis.

    Attributes:
        axis: Axis of the result.
        reach: Which indices are read, where it is not the same one.
    """

    axis: int
    reach: Reach = SAME


@dataclasses.dataclass(frozen=True)
class Over:
    """Values at all indices of this axis reach each value of the result.

    Attributes:
        does: What the operator does, to be followed by what it does that to: "averages over".
        surely: Whether it always mixes; otherwise whether it does depends on values.
        neutral: Whether the steps after each row's length leave the result as it is, by sequence axis.
    """

    does: str
    surely: bool = True
    neutral: Callable[[str], bool] | None = None


@dataclasses.dataclass(frozen=True)
class First:
    """The result is what there is at index 0 of this axis, which no row is too short for."""


@dataclasses.dataclass(frozen=True)
class Last:
    """The result is what there is at the last index of this axis, after all others.

    Attributes:
        does: Words as of `Over`.
        neutral: Sequence axes as of `Over`.
    """

    does: str
    neutral: Callable[[str], bool] | None = None


Read = At | First | Last | Over
Source = tuple[Value, Sequence[Read]]


def flow(node: Node, shape: Shape, sources: Iterable[Source], copies: Collection[int] = ()) -> Value:
    """Give what a result depends on.

    Args:
        node: The operator.
        shape: Shape of the result.
        sources: The inputs that it is computed from, each with how each of its axes is read. An input of which nothing
            is known makes a result of which nothing is known.
        copies: Axes of the result along which all values are equal.
    """
    sources = list(sources)
    if any(value.shape is None for value, _ in sources):
        return dataclasses.replace(node.undecided(), shape=shape)
    tracks = {}
    for key in node.keys:
        through = [_through(node, key, value, reads) for value, reads in sources]
        tracks[key] = guarded(node, key, join([*through, _copied(key, shape, copies)]), shape)
    return Value(shape, tracks)


def created(node: Node, shape: Shape) -> Value:
    """Give what is known of a tensor that is made of sizes alone, and whose values are equal along every axis."""
    tracks = {key: guarded(node, key, _copied(key, shape, range(len(shape))), shape) for key in node.keys}
    return Value(shape, tracks)


def _copied(key: Key, shape: Shape, axes: Iterable[int]) -> Track:
    """Let the values along axes whose sizes come from the one in question be those of its rows, or of its steps."""
    places = {(at, number): Reach() for at in axes for number, size in enumerate(shape[at]) if key[1] in size.made_of}
    return Track(places)


def numbered(node: Node, result: Value, size: Size, kept: Collection[str] = ()) -> Value:
    """Say that indices of a result are treated by their number, from one on that depends on a size.

    Which rows, or steps, those are depends on how many there are, unless the number is as large as the axis at least.

    Args:
        node: The operator.
        result: Value that it gives.
        size: The number.
        kept: Axes for which it makes no difference.
    """
    tracks = dict(result.tracks)
    for key in node.keys:
        beyond = (size - named(key[1])).lowest
        if key[1] in size.tainted and key[1] not in kept and not (beyond is not None and beyond >= 0):
            tracks[key] = join([result.track(key), not_decided(node.title, "treats them by their number")])
    return dataclasses.replace(result, tracks=tracks)


def guarded(node: Node, key: Key, track: Track, shape: Shape) -> Track:
    """Make sure that each axis whose size comes from the one in question is known to lie along it.

    Otherwise values at its indices might be numbered, and so depend on a row's place in the batch.
    """
    if track.is_lost:
        return track
    for at, axis in enumerate(shape):
        for number, size in enumerate(axis):
            if key[1] in size.made_of and (at, number) not in track.places:
                return join([track, not_decided(node.title)])
            if key[0] is Property.ROWS and (at, number) in track.places and str(size) != key[1]:
                return join([track, not_decided(node.title, "takes others than all of")])
    return track


def _through(node: Node, key: Key, value: Value, reads: Sequence[Read]) -> Track:
    track = value.track(key)
    places: dict[tuple[int, int], Reach] = {}
    more = [Track(mixing=track.mixing, undecided=track.undecided)] if track.is_lost else []
    for (at, number), reach in track.places.items():
        if at < 0:
            places[at, number] = reach
            continue
        found = _read(node, key, value, at, reads[at], reach)
        if isinstance(found, Track):
            more.append(found)
        else:
            axis, further = found
            places[axis, number] = places[axis, number].union(further) if (axis, number) in places else further
    for at, sizes in enumerate(value.axes):
        if not isinstance(reads[at], At) and not any(place[0] == at for place in track.places):
            more.append(_sized(node, key, value, at, sizes, reads[at]))
    return join([Track(places), *more])


def _read(node: Node, key: Key, value: Value, at: int, read: Read, reach: Reach) -> tuple[int, Reach] | Track:
    """Follow one place through one read."""
    kind, axis = key
    track = value.track(key)
    joined = len(value.axes[at]) > 1
    if isinstance(read, At):
        if read.reach == SAME:
            return read.axis, reach
        if kind is Property.ROWS and not read.reach.exact:
            beside = "rows beside each row" if key[1] == BATCH else "steps beside each step"
            return Track(mixing=(Reason(node.title, f"reads the {beside}"),))
        if joined or kind is Property.ROWS:  # rows that are moved may be moved back
            return not_decided(node.title, "moves them")
        return read.axis, reach.then(dataclasses.replace(read.reach, by=node.title))
    if isinstance(read, First):
        is_free = kind is not Property.ROWS and not joined and reach.offset <= 0
        return FREE if is_free else not_decided(node.title, "reads the first of")
    if isinstance(read, Last):
        if joined:
            return not_decided(node.title)
        if kind is Property.CAUSALITY and reach.offset <= 0:
            return LAST[0], Reach(exact=False)
        if kind is Property.CAUSALITY:
            return Track(mixing=(Reason(reach.by, f'reads {reach.offset} steps ahead of "{axis}"'),))
    if kind is Property.PADDING and not joined and reach.offset <= 0 and _is_neutral(axis, read):
        return FREE
    if isinstance(read, Last):
        return _mixing(node, key, read.does)
    if kind is Property.PADDING and axis in value.after:
        return not_decided(node.title)  # a mask, perhaps one that is as good as neutral
    # Where one value has two indices of the axis, a mask may make the one depend on the other: a causal mask does.
    surely = read.surely and len(track.places) == 1
    return _mixing(node, key, read.does) if surely else not_decided(node.title, read.does)


def _mixing(node: Node, key: Key, does: str) -> Track:
    kind, axis = key
    over = {
        Property.ROWS: "the rows of the batch" if axis == BATCH else f'all steps of "{axis}"',
        Property.PADDING: f'all steps of "{axis}", those after a row\'s length included',
        Property.CAUSALITY: f'all steps of "{axis}"',
    }[kind]
    return Track(mixing=(Reason(node.title, f"{does} {over}"),))


def _is_neutral(axis: str, read: Over | Last) -> bool:
    return read.neutral is not None and read.neutral(axis)


def _sized(node: Node, key: Key, value: Value, at: int, axis: Axis, read: Read) -> Track:
    """Tell whether the size of an axis that is read as a whole depends on the axis in question.

    An output that was cut to the longest row has a size that depends on other rows: what is computed over all its steps
    does, too, unless the steps after each row's length leave it as it is.
    """
    if key[1] not in size_of(axis).tainted or isinstance(read, First):
        return FREE
    if isinstance(read, Over | Last):
        for (kind, sequence), track in value.tracks.items():
            along = kind is Property.PADDING and not track.is_lost and track.places.get((at, 0))
            if along and len(axis) == 1 and along.offset <= 0 and _is_neutral(sequence, read):
                return FREE
    return not_decided(node.title)
