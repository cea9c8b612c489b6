"""Scan and Loop: walking a body until what is known of its states does not change any more."""

import dataclasses
from collections.abc import Callable, Sequence

import onnx_ir as ir

from rnnserve.export.analysis.flow import Node, guarded, meet
from rnnserve.export.analysis.sizes import computed
from rnnserve.export.analysis.values import (
    ANY,
    FREE,
    LAST,
    Axis,
    Key,
    NotCovered,
    Place,
    Property,
    Range,
    Reach,
    Reason,
    Steps,
    Track,
    Value,
    carried,
    join,
    not_decided,
    size_of,
    union,
)

WalkBody = Callable[[Sequence[Value]], list[Value]]
"""Walks a body, given what is known of its inputs; gives what is known of its outputs."""

_MOST_WALKS = 12  # through a body; each adds a place, or a reason, to a state
_ROUNDS = 3  # after which ranges that still grow are taken to grow on


def joined(node: Node, values: Sequence[Value]) -> Value:
    """Give what is known of a value that is one of several."""
    shapes = {value.shape for value in values}
    unknown = [] if len(shapes) == 1 and None not in shapes else [not_decided(node.title)]
    tracks = {key: join([*(value.track(key) for value in values), *unknown]) for key in node.keys}
    return Value(None if unknown else values[0].shape, tracks, range=union(value.whole for value in values))


class _Loop:
    """A loop node.

    Attributes:
        place: Stands for the axis that it runs over, in the body.
        names: The names of the body's inputs.
    """

    def __init__(self, node: Node, path: str, *, overflows: bool) -> None:
        self._node = node
        self._overflows = overflows
        self.body: ir.Graph = node.attribute("body")
        self.names = [value.name or "" for value in self.body.inputs]
        self.place: Place = (LAST[0] - 1 - path.count("/"), 0)

    def settle(
        self,
        states: Sequence[Value],
        walk: Callable[[list[Value]], list[Value]],
        before: Callable[[list[Value]], list[Value]],
    ) -> tuple[list[Value], list[Value]]:
        """Walk a body until the states that its steps leave are among those that it may begin with.

        Args:
            states: What is known of the first ones.
            walk: A function that walks the body from states, and gives its results.
            before: A function that gives the states before any step of the results of one.

        Returns:
            What is known of the states before any step, and of the body's results.
        """
        states = [dataclasses.replace(state, content=None, pattern=None, fill=None, name="") for state in states]
        for number in range(_MOST_WALKS):
            made = walk(list(states))
            following = [joined(self._node, pair) for pair in zip(states, before(made), strict=True)]
            if number >= _ROUNDS:
                following = [
                    new if new.range == old.range else dataclasses.replace(new, range=self._grown(new.range))
                    for old, new in zip(states, following, strict=True)
                ]
            if following == states:
                return states, made
            states = following
        raise NotCovered

    def _grown(self, range: Range | None) -> Range:
        """Give the range of what grows from step to step, without end."""
        finite = range is not None and range.finite and not self._overflows
        return dataclasses.replace(ANY, finite=finite)

    def stacked(self, value: Value, at: int, size: Axis, *, aligned: bool) -> Value:
        """Give what is known of the values of all steps, one after the other along a new axis.

        Args:
            value: Value of one step.
            at: The new axis.
            size: Size of the new axis.
            aligned: Whether the steps have the order that they have in what the loop runs over.
        """
        shape = (*value.axes[:at], size, *value.axes[at:])

        def moved(place: int) -> int:
            return at if place == self.place[0] else place + 1 if place >= at else place

        tracks: dict[Key, Track] = {}
        for key in self._node.keys:
            track = value.track(key)
            found = track.at({(moved(place[0]), place[1]): reach for place, reach in track.places.items()})
            if self.place in track.places and not aligned:
                found = join([found.at({}), not_decided(self._node.title)])
            is_numbered = self.place not in track.places and any(key[1] in each.made_of for each in size)
            if is_numbered and key[0] is not Property.ROWS:
                found = join([found, Track({(at, 0): Reach()})])
            tracks[key] = guarded(self._node, key, found, shape)
        result = dataclasses.replace(
            value, after=value.after if aligned else {}, range=value.range if aligned else value.whole
        )
        return dataclasses.replace(carried(Value(shape, tracks), result, moved), pattern=None, fill=None)


class _ScanLoop(_Loop):
    """A Scan, which runs over the steps of tensors in one direction."""

    def __init__(self, node: Node, path: str, *, overflows: bool) -> None:
        super().__init__(node, path, overflows=overflows)
        count = int(node.attribute("num_scan_inputs"))
        self._count = len(self.names) - count
        self._outputs = [value.name for value in self.body.outputs]
        scanned = [node.input(self._count + number) for number in range(count)]
        directions = set(node.attribute("scan_input_directions") or [0] * count)
        if len(directions) != 1:
            raise NotCovered
        self._backward = directions == {1}
        given = node.attribute("scan_input_axes") or [0] * count
        axes = [axis % value.rank for axis, value in zip(given, scanned, strict=True)]
        self._size = meet(value.axes[at] for at, value in zip(axes, scanned, strict=True))
        self._carries = any(self._is_changed(at) for at in range(self._count))
        self._steps = [self._one_step(value, at) for at, value in zip(axes, scanned, strict=True)]
        self._along = {
            key[1] for value in self._steps for key, track in value.tracks.items()
            if key[0] is Property.PADDING and self.place in track.places
        }  # fmt: skip

    def _is_changed(self, at: int) -> bool:
        """Whether a step makes another value of a state, rather than pass it on."""
        value = self.body.outputs[at]
        made = value.producer()
        return self.body.inputs[at] not in (value, made.inputs[0] if made and made.op_type == "Identity" else None)

    def _one_step(self, value: Value, at: int) -> Value:
        """Give what is known of one step of a tensor that the loop runs over."""
        if len(value.axes[at]) > 1:
            raise NotCovered

        def moved(place: int) -> int:
            return self.place[0] if place == at else place - 1 if place > at else place

        tracks = {}
        for key, track in value.tracks.items():
            if key[0] is Property.ROWS and (at, 0) in track.places and self._carries:
                raise NotCovered  # a loop over rows, each of which may reach later ones
            places = {
                self.place if place[0] == at else (moved(place[0]), place[1]): reach
                for place, reach in track.places.items()
            }
            tracks[key] = track.at(places)
        result = Value((*value.axes[:at], *value.axes[at + 1 :]), tracks)
        return dataclasses.replace(carried(result, value, moved), after=value.after, range=value.range)

    def results(self, walk: WalkBody) -> list[Value]:
        """Give what is known of the node's results: the last states, then what all steps gave."""
        first = [self._node.input(at) for at in range(self._count)]
        states, made = self.settle(first, lambda states: walk([*states, *self._steps]), self._before)
        held = self._held(made)
        found = [
            self._last(state, value, held, at) for at, (state, value) in enumerate(zip(states, made, strict=False))
        ]
        count = len(self._outputs) - self._count
        axes = self._node.attribute("scan_output_axes") or [0] * count
        directions = self._node.attribute("scan_output_directions") or [0] * count
        for value, axis, direction in zip(made[self._count :], axes, directions, strict=True):
            aligned = bool(direction) == self._backward
            found.append(self.stacked(value, axis % (value.rank + 1), self._size, aligned=aligned))
        return found

    def _held(self, made: Sequence[Value]) -> list[set[str]]:
        """Name for each state the sequence axes after whose lengths a step leaves it as it is."""
        return [
            {axis for axis, name in value.held.items() if name == self.names[at] and axis in self._along}
            for at, value in enumerate(made[: self._count])
        ]

    def _before(self, made: list[Value]) -> list[Value]:
        """Give what is known of the states before a step, from the results of the one before it."""
        held, found = self._held(made), []
        for value in made[: self._count]:
            tracks = {}
            for key in self._node.keys:
                track = self._from_later(key, value.track(key), held) if self._backward else value.track(key)
                reach = track.places.get(self.place)
                places = dict(track.places)
                if reach is not None:  # it reaches as far as the step before does
                    places[self.place] = Reach(exact=False, offset=reach.offset - 1, by=reach.by)
                tracks[key] = track.at(places)
            found.append(dataclasses.replace(value, tracks=tracks))
        return found

    def _from_later(self, key: Key, track: Track, held: list[set[str]]) -> Track:
        """Give the track of a state that comes from later steps."""
        kind, axis = key
        if kind is Property.PADDING and all(axis in each for each in held):
            return track  # nothing has changed it at those steps that are padding
        if self.place in track.places:
            rest = track.at({place: reach for place, reach in track.places.items() if place != self.place})
            return join([rest, self._mixing(f'runs backward over all steps of "{axis}"')])
        stops = any(all(axis in each for each in held) for axis in set().union(*held))
        if axis in size_of(self._size).tainted and not stops:
            return join([track, not_decided(self._node.title)])
        return track

    def _mixing(self, sentence: str) -> Track:
        return Track(mixing=(Reason(self._node.title, sentence),))

    def _last(self, state: Value, made: Value, held: list[set[str]], at: int) -> Value:
        value = joined(self._node, [state, made])
        tracks = {key: self._ended(key, value.track(key), held[at]) for key in self._node.keys}
        return dataclasses.replace(value, tracks=tracks, range=made.whole)

    def _ended(self, key: Key, track: Track, held: set[str]) -> Track:
        """Give the track of a state after the last step."""
        kind, axis = key
        rest = track.at({place: reach for place, reach in track.places.items() if place != self.place})
        if self.place not in track.places:
            is_sized = axis in size_of(self._size).tainted and not held
            return join([rest, not_decided(self._node.title)]) if is_sized else rest
        if track.places[self.place].offset > 0:
            return join([rest, not_decided(self._node.title)])
        if kind is Property.CAUSALITY:
            return join([rest, Track({LAST: Reach(exact=False)})])
        if axis in held:
            return rest
        return join([rest, self._mixing(f'gives the state after all steps of "{axis}", padding included')])


def scan(node: Node, path: str, walk: WalkBody, *, overflows: bool) -> list[Value]:
    """Give what is known of the results of a Scan."""
    return _ScanLoop(node, path, overflows=overflows).results(walk)


def repeat(node: Node, path: str, walk: WalkBody, *, overflows: bool) -> list[Value]:
    """Give what is known of the results of a Loop, which runs as often as a number, or a condition, says."""
    loop = _Loop(node, path, overflows=overflows)
    count, condition = node.optional(0), node.optional(1)
    sizes = None if count is None else count.sizes
    tainted = frozenset[str]() if sizes is None else sizes[0].tainted
    ends = [value for value in (None if sizes is not None else count, condition) if value is not None]

    def times(key: Key, condition: Track) -> Track:
        """Give what the number of times depends on."""
        found = join([condition, *(value.track(key) for value in ends)])
        return join([found, not_decided(node.title)]) if key[1] in tainted else found

    number = Value((), pattern=Steps(loop.place[0]), range=Range(0.0, 1e9))
    again = Value((), {key: times(key, FREE) for key in node.keys}, range=Range(0.0, 1.0))
    states = [node.input(at) for at in range(2, len(node.inputs))]
    states, made = loop.settle(
        states, lambda states: walk([number, again, *states]), lambda made: made[1 : 1 + len(states)]
    )
    found = []
    for at, value in enumerate(made[1:]):
        if at < len(states):
            result = joined(node, [states[at], value])
        else:
            result = loop.stacked(value, 0, (computed(f"times of {node.title}", tainted=tainted),), aligned=True)
        tracks = {key: join([result.track(key), times(key, made[0].track(key))]) for key in node.keys}
        found.append(dataclasses.replace(result, tracks=tracks))
    return found
