"""Compute how dependencies pass through an operator, from the way it maps the axes of its inputs to its result.

A rule states how each axis of each input is read (`At`, `Over`, …), and the shape of the result. The consequences for
rows, padding and causality are the same for all operators, so they are computed here.
"""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rnnserve.export.analysis.sizes import Size, named
from rnnserve.export.analysis.values import (
    FREE,
    LAST,
    NUMBERS,
    ONE,
    Axis,
    Key,
    NotCovered,
    Place,
    Property,
    Reach,
    Reason,
    Shape,
    Track,
    Value,
    along,
    carried,
    join,
    not_decided,
    size_of,
)
from rnnserve.protos.protocol_words import BATCH

_INDEXING = (  # these operators read, write or count at other indices, or scale by the largest of all numbers
    *("Compress", "Gather", "GatherElements", "GatherND", "NonZero", "Range", "ReverseSequence", "Scatter"),
    *("ScatterElements", "ScatterND", "Slice", "TopK", "Unique"),
    *("DynamicQuantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul"),
)


@dataclasses.dataclass(frozen=True)
class Node:
    """A node in the form that rules use."""

    operator: str
    title: str  # the node's name in messages
    inputs: Sequence[Value | None]  # None for a missing input
    results: Sequence[str]
    attributes: Mapping[str, Any]
    keys: Sequence[Key]  # the properties to decide
    opset: int

    def input(self, at: int) -> Value:
        """Return an input. Raises NotCovered if it is left out, or if its number of axes isn't known."""
        value = self.optional(at)
        if value is None or value.shape is None:
            raise NotCovered
        return value

    def optional(self, at: int) -> Value | None:
        """Return an input. None if it is left out."""
        return self.inputs[at] if at < len(self.inputs) else None

    @property
    def given(self) -> list[Value]:
        """The inputs that aren't left out."""
        return [value for value in self.inputs if value is not None]

    def is_free(self, values: Iterable[Value | None]) -> bool:
        """Whether the values depend on no axis in question."""
        return all(value.track(key).is_free for value in values if value is not None for key in self.keys)

    def attribute(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - the type depends on the operator
        """Return an attribute's value."""
        return self.attributes.get(name, default)

    def axis(self, rank: int, default: int = 0) -> int:
        """Return the attribute "axis", counted from 0."""
        return _from_zero(int(self.attribute("axis", default)), rank)

    def axes(self, rank: int, at: int = 1) -> list[int] | None:
        """Return the axes from an attribute or an input, counted from 0. None if the node names no axes."""
        axes = self.attribute("axes")
        if axes is None:
            given = self.optional(at)
            if given is None:
                return None
            axes = given.numbers
            if axes is None:
                raise NotCovered
        return [_from_zero(int(axis), rank) for axis in axes]

    def undecided(self) -> Value:
        """Return the record of a result without any knowledge, with the reason: this node, or an earlier one."""
        tracks = {}
        for key in self.keys:
            before = join(value.track(key) for value in self.given if value.shape is None)
            said = "reads at unknown indices" if self.operator in _INDEXING else ""
            if self.operator == "NonZero" and not all(value.track(key).is_free for value in self.given):
                said = NUMBERS
            numbers = [each for value in self.given for each in value.track(key).undecided if each.is_of_numbers]
            reasons = before.undecided or (Reason(self.title, said),)
            tracks[key] = Track(undecided=tuple(dict.fromkeys((*reasons, *numbers))))
        return Value(shape=None, tracks=tracks)


def _from_zero(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise NotCovered
    return axis % rank


_SAME = Reach()


@dataclasses.dataclass(frozen=True)
class At:
    """Values at index i of this axis reach the result's values at index i of one axis, or near it (`reach`)."""

    axis: int  # an axis of the result
    reach: Reach = _SAME


@dataclasses.dataclass(frozen=True)
class Over:
    """Values at all indices of this axis reach each value of the result."""

    does: str  # the operator's verb phrase, which messages continue: "averages over"
    surely: bool = True  # whether it always mixes the values, or only for some values
    neutral: Collection[str] = ()  # the sequence axes whose steps after each row's length don't change the result


@dataclasses.dataclass(frozen=True)
class First:
    """The result is the value at index 0 of this axis, which every row has."""


@dataclasses.dataclass(frozen=True)
class Last:
    """The result is the value at the last index of this axis. Fields as in `Over`."""

    does: str
    neutral: Collection[str] = ()


Read = At | First | Last | Over
Source = tuple[Value, Sequence[Read]]


def flow(node: Node, shape: Shape, sources: Iterable[Source], copies: Collection[int] = ()) -> Value:
    """Return the record of a result computed from sources: inputs, with the way in which each axis is read.

    All values along the result's axes in `copies` are equal. If the shape of an input is unknown, nothing is known of
    the result either.
    """
    sources = list(sources)
    if any(value.shape is None for value, _ in sources):
        return dataclasses.replace(node.undecided(), shape=shape)
    tracks = {}
    for key in node.keys:
        through = [_through(node, key, value, reads) for value, reads in sources]
        tracks[key] = guarded(node, key, join([*through, _copied(key, shape, copies)]), shape)
    return Value(shape, tracks, masked=any(value.masked for value, _ in sources))


def moved(node: Node, shape: Shape, value: Value, reads: Sequence[Read], copies: Collection[int] = ()) -> Value:
    """Return the record of a result that holds values of one input. Arguments as for `flow`."""
    unchanged = {at: read.axis for at, read in enumerate(reads) if isinstance(read, At) and read.reach == _SAME}
    return carried(flow(node, shape, [(value, reads)], copies), value, unchanged.get)


def created(node: Node, shape: Shape) -> Value:
    """Return the record of a tensor made from sizes alone, whose values are equal along every axis."""
    tracks = {key: guarded(node, key, _copied(key, shape, range(len(shape))), shape) for key in node.keys}
    return Value(shape, tracks)


def _copied(key: Key, shape: Shape, axes: Iterable[int]) -> Track:
    """Assign copies to rows or steps: the axes are those whose sizes come from the axis in question."""
    places = {(at, number): Reach() for at in axes for number, size in enumerate(shape[at]) if key[1] in size.made_of}
    return Track(places)


def numbered(node: Node, result: Value, size: Size) -> Value:
    """Record that a node treats some indices by their number, starting at a number that depends on a size.

    Which rows or steps these are depends on how many there are, unless the number is at least the size of the axis.
    """
    tracks = dict(result.tracks)
    for key in node.keys:
        if key[1] in size.tainted and not size.at_least(named(key[1])):
            tracks[key] = join([result.track(key), not_decided(node.title, "depends on their count")])
    return dataclasses.replace(result, tracks=tracks)


def guarded(node: Node, key: Key, track: Track, shape: Shape) -> Track:
    """Check that each axis lies along the axis in question if its size comes from there.

    Otherwise the values at its indices might be numbers of rows, and so depend on a row's place in the batch.
    """
    if track.is_lost:
        return track
    for at, axis in enumerate(shape):
        for number, size in enumerate(axis):
            if key[1] in size.made_of and (at, number) not in track.places:
                return join([track, not_decided(node.title)])
            if key[0] is Property.ROWS and (at, number) in track.places and str(size) != key[1]:
                return join([track, not_decided(node.title, "takes only some of")])
    return track


def _through(node: Node, key: Key, value: Value, reads: Sequence[Read]) -> Track:
    track = value.track(key)
    places: dict[Place, Reach] = {}
    more = [track.at({})]
    for (at, number), reach in track.places.items():
        found = (at, reach) if at < 0 else _read(node, key, value, at, reads[at], reach)
        if isinstance(found, Track):
            more.append(found)
        else:
            place, further = (found[0], number), found[1]
            places[place] = places[place].union(further) if place in places else further
    for at, sizes in enumerate(value.axes):
        if not isinstance(reads[at], At) and not any(place[0] == at for place in track.places):
            more.append(_sized(node, key, value, at, sizes, reads[at]))
    return join([Track(places), *more])


def _read(node: Node, key: Key, value: Value, at: int, read: Read, reach: Reach) -> tuple[int, Reach] | Track:
    """Follow one place through one read: return its new axis and reach, or a track if it doesn't keep its index."""
    kind, axis = key
    joined = len(value.axes[at]) > 1
    if isinstance(read, At):
        return _read_at(node, key, read, reach, joined=joined)
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
    if kind is Property.PADDING and not joined and reach.offset <= 0 and axis in read.neutral:
        return FREE
    if isinstance(read, Last):
        return _mixing(node, key, read.does)
    if kind is Property.PADDING and value.masked:
        return not_decided(node.title, read.does)  # the mask may make the read neutral
    # If a value has two indices of the axis, a mask may make one depend on the other. Causal masks do this.
    surely = read.surely and len(value.track(key).places) == 1
    return _mixing(node, key, read.does) if surely else not_decided(node.title, read.does)


def _read_at(node: Node, key: Key, read: At, reach: Reach, *, joined: bool) -> tuple[int, Reach] | Track:
    if read.reach == _SAME:
        return read.axis, reach
    if key[0] is Property.ROWS and not read.reach.exact:
        beside = "rows beside each row" if key[1] == BATCH else "steps beside each step"
        return Track(mixing=(Reason(node.title, f"reads the {beside}"),))
    if joined or key[0] is Property.ROWS:  # a later node may move the rows back
        return not_decided(node.title, "moves them")
    return read.axis, reach.then(dataclasses.replace(read.reach, by=node.title))


def _mixing(node: Node, key: Key, does: str) -> Track:
    kind, axis = key
    over = {
        Property.ROWS: "the rows of the batch" if axis == BATCH else f'all steps of "{axis}"',
        Property.PADDING: f'all steps of "{axis}", padding included',
        Property.CAUSALITY: f'all steps of "{axis}"',
    }[kind]
    return Track(mixing=(Reason(node.title, f"{does} {over}"),))


def _sized(node: Node, key: Key, value: Value, at: int, axis: Axis, read: Read) -> Track:
    """Return how a result depends on the size of an axis if the operator reads the whole axis.

    If an output is cut to the longest row, its size depends on other rows. A result computed over all its steps
    then depends on other rows as well, unless the steps after each row's length don't change it.
    """
    if key[1] not in size_of(axis).tainted or isinstance(read, First):
        return FREE
    if isinstance(read, Over | Last) and any(along(value, sequence) == at for sequence in read.neutral):
        return FREE
    return not_decided(node.title)


def broadcast(node: Node, values: Sequence[Value]) -> Value:
    """Return the record of an elementwise result, with the inputs broadcast by NumPy's rules."""
    shape = broadcast_shape([value.axes for value in values])
    return flow(node, shape, [(v, [At(at + len(shape) - v.rank) for at in range(v.rank)]) for v in values])


def broadcast_shape(shapes: Sequence[Shape]) -> Shape:
    """Return the shape of arrays of these shapes after broadcasting."""
    rank = max(map(len, shapes), default=0)
    padded = [((ONE,),) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(meet([shape[at] for shape in padded]) for at in range(rank))


def meet(axes: Iterable[Axis]) -> Axis:
    """Return the common axis that axes broadcast to. Raises NotCovered if their sizes or factors differ."""
    found = {axis for axis in axes if size_of(axis) != ONE}
    if len(found) > 1:
        raise NotCovered
    return found.pop() if found else (ONE,)
