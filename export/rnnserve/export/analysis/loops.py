"""The rule of Scan: traverse its body until the records of its states stop changing."""

import dataclasses
from collections.abc import Callable, Sequence

import onnx_ir as ir

from rnnserve.export.analysis.flow import Node, guarded, meet
from rnnserve.export.analysis.values import (
    ANY,
    LAST,
    Key,
    NotCovered,
    Place,
    Property,
    Reach,
    Reason,
    Shape,
    Track,
    Value,
    carried,
    join,
    not_decided,
    size_of,
    union,
)

WalkBody = Callable[[Sequence[Value]], list[Value]]
"""Traverses a body: takes the records of its inputs and returns the records of its outputs."""

_MOST_WALKS = 12  # traversals of one body: each adds a place or a reason to a state
_ROUNDS = 3  # after this many traversals, a still growing range counts as unbounded


def joined(node: Node, values: Sequence[Value]) -> Value:
    """Return the record of a value that equals one of several values."""
    shapes = {value.shape for value in values}
    shape = values[0].shape if len(shapes) == 1 else None
    tracks = {key: _lost(node, shape, join(value.track(key) for value in values)) for key in node.keys}
    is_masked = any(value.masked for value in values)
    return Value(shape, tracks, masked=is_masked, range=union(value.whole for value in values))


def _lost(node: Node, shape: Shape | None, track: Track) -> Track:
    """Mark a value of unknown shape as not decided."""
    return track if shape is not None or track.is_lost else join([track, not_decided(node.title)])


class ScanLoop:
    """A Scan, which runs over the steps of tensors in one direction."""

    def __init__(self, node: Node, path: str) -> None:
        """Read a node. Raises NotCovered if it runs in both directions, or carries a state from row to row."""
        self._node = node
        self._body: ir.Graph = node.attribute("body")
        self._place: Place = (LAST[0] - 1 - path.count("/"), 0)  # stands for the loop's axis in the body
        count = int(node.attribute("num_scan_inputs"))
        self._count = len(self._body.inputs) - count
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
        tracks = [each for value in self._steps for each in value.tracks.items()]
        self._along = {key[1] for key, track in tracks if key[0] is Property.PADDING and self._place in track.places}

    def _is_changed(self, at: int) -> bool:
        """Whether a step computes a new value of a state instead of passing the state on."""
        value = self._body.outputs[at]
        made = value.producer()
        return self._body.inputs[at] not in (value, made.inputs[0] if made and made.op_type == "Identity" else None)

    def _one_step(self, value: Value, at: int) -> Value:
        """Return the record of one step of a tensor over which the loop runs."""
        if len(value.axes[at]) > 1:
            raise NotCovered

        def moved(place: int) -> int:
            return self._place[0] if place == at else place - 1 if place > at else place

        tracks = {}
        for key, track in value.tracks.items():
            if key[0] is Property.ROWS and (at, 0) in track.places and self._carries:
                raise NotCovered  # a loop over rows, in which each row may reach later rows
            places = {
                self._place if place[0] == at else (moved(place[0]), place[1]): reach
                for place, reach in track.places.items()
            }
            tracks[key] = track.at(places)
        result = Value((*value.axes[:at], *value.axes[at + 1 :]), tracks)
        return carried(result, value, moved)

    def results(self, walk: WalkBody) -> list[Value]:
        """Return the records of the node's results: the last states, then the stacked outputs of all steps."""
        states, made = self._settle(walk)
        held = self._held(made)
        found = [self._last(*each) for each in zip(states, made, held, strict=False)]
        count = len(self._body.outputs) - self._count
        axes = self._node.attribute("scan_output_axes") or [0] * count
        directions = self._node.attribute("scan_output_directions") or [0] * count
        for value, axis, direction in zip(made[self._count :], axes, directions, strict=True):
            aligned = bool(direction) == self._backward
            found.append(self._stacked(value, axis, aligned=aligned))
        return found

    def _settle(self, walk: WalkBody) -> tuple[list[Value], list[Value]]:
        """Traverse the body until the states after a step are covered by the states before it.

        Returns these states, and the body's results.
        """
        states = [
            dataclasses.replace(self._node.input(at), content=None, pattern=None, fill=None, name="")
            for at in range(self._count)
        ]
        for number in range(_MOST_WALKS):
            made = walk([*states, *self._steps])
            following = [joined(self._node, pair) for pair in zip(states, self._before(made), strict=True)]
            if number >= _ROUNDS:  # treat a still growing range as unbounded
                following = [
                    new if new.range == old.range else dataclasses.replace(new, range=ANY)
                    for old, new in zip(states, following, strict=True)
                ]
            if following == states:
                return states, made
            states = following
        raise NotCovered

    def _stacked(self, value: Value, at: int, *, aligned: bool) -> Value:
        """Stack the values of all steps along a new axis; `aligned` if they keep the order of the loop's input."""
        if value.shape is None:
            tracks = {key: _lost(self._node, None, value.track(key)) for key in self._node.keys}
            return Value(None, tracks, range=value.whole)
        at %= value.rank + 1
        shape = (*value.axes[:at], self._size, *value.axes[at:])

        def moved(place: int) -> int:
            return at if place == self._place[0] else place + 1 if place >= at else place

        tracks = {}
        for key in self._node.keys:
            track = value.track(key)
            found = track.at({(moved(place[0]), place[1]): reach for place, reach in track.places.items()})
            # A state may count the steps, and then its value at a step depends on how many there are.
            is_numbered_back = self._carries and key[1] in size_of(self._size).tainted
            if (self._place in track.places or is_numbered_back) and not aligned:
                found = join([found.at({}), not_decided(self._node.title)])
            is_numbered = self._place not in track.places and any(key[1] in each.made_of for each in self._size)
            if is_numbered and key[0] is not Property.ROWS:
                found = join([found, Track({(at, 0): Reach()})])
            tracks[key] = guarded(self._node, key, found, shape)
        return dataclasses.replace(carried(Value(shape, tracks), value, moved), pattern=None, fill=None)

    def _held(self, made: Sequence[Value]) -> list[set[str]]:
        """Return, for each state, the sequence axes whose steps after each row's length don't change it."""
        return [
            {axis for axis, name in value.held.items() if name == self._body.inputs[at].name and axis in self._along}
            for at, value in enumerate(made[: self._count])
        ]

    def _before(self, made: list[Value]) -> list[Value]:
        """Return the records of the states before a step, from the results of the previous step."""
        held, found = self._held(made), []
        for value in made[: self._count]:
            tracks = {}
            for key in self._node.keys:
                track = self._from_later(key, value.track(key), held) if self._backward else value.track(key)
                reach = track.places.get(self._place)
                places = dict(track.places)
                if reach is not None:  # it reaches as far as the previous step
                    places[self._place] = Reach(exact=False, offset=reach.offset - 1, by=reach.by)
                tracks[key] = track.at(places)
            found.append(dataclasses.replace(value, tracks=tracks))
        return found

    def _from_later(self, key: Key, track: Track, held: list[set[str]]) -> Track:
        """Return the track of a state that comes from later steps."""
        kind, axis = key
        if kind is Property.PADDING and all(axis in each for each in held):
            return track  # padding steps don't change the state
        if self._place in track.places:
            rest = track.at({place: reach for place, reach in track.places.items() if place != self._place})
            return join([rest, self._mixing(f'runs backward over all steps of "{axis}"')])
        stops = any(all(axis in each for each in held) for axis in set().union(*held))
        if axis in size_of(self._size).tainted and not stops:
            return join([track, not_decided(self._node.title)])
        return track

    def _mixing(self, sentence: str) -> Track:
        return Track(mixing=(Reason(self._node.title, sentence),))

    def _last(self, state: Value, made: Value, held: set[str]) -> Value:
        value = joined(self._node, [state, made])
        tracks = {key: self._ended(key, value.track(key), held) for key in self._node.keys}
        return dataclasses.replace(value, tracks=tracks, range=made.whole)

    def _ended(self, key: Key, track: Track, held: set[str]) -> Track:
        """Return the track of a state after the last step."""
        kind, axis = key
        rest = track.at({place: reach for place, reach in track.places.items() if place != self._place})
        if self._place not in track.places:
            is_sized = axis in size_of(self._size).tainted and not held
            return join([rest, not_decided(self._node.title)]) if is_sized else rest
        if track.places[self._place].offset > 0:
            return join([rest, not_decided(self._node.title)])
        if kind is Property.CAUSALITY:
            return join([rest, Track({LAST: Reach(exact=False)})])
        if axis in held:
            return rest
        return join([rest, self._mixing(f'gives the state after all steps of "{axis}", padding included')])
