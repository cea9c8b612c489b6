"""Scan: a loop over steps that carries states."""

import dataclasses

import onnx

from rnnserve.export.dataflow.broadcasting import meet
from rnnserve.export.dataflow.loop_values import before_step, joined, mixing, one_step, stacked
from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.tracks import LAST, Key, Place, Property, Reach, Track, join, not_decided
from rnnserve.export.dataflow.values import NotCovered, Value, size_of

__all__ = ["ScanLoop"]


class ScanLoop:
    """A Scan node, as far as it does not depend on what its body computes."""

    def __init__(self, node: Node, body: onnx.GraphProto, depth: int) -> None:
        """Read a node's attributes.

        Raises:
            NotCovered: If it does not run over steps in one direction.
        """
        self._node = node
        count = int(node.attribute("num_scan_inputs"))
        self._names = [value.name for value in body.input]
        self._outputs = [value.name for value in body.output]
        self._states = len(self._names) - count
        self._loop: Place = (LAST[0] - 1 - depth, 0)
        scanned = [node.input(self._states + number) for number in range(count)]
        axes = node.attribute("scan_input_axes") or [0] * count
        directions = set(node.attribute("scan_input_directions") or [0] * count)
        if len(directions) != 1:
            raise NotCovered
        self._backward = directions == {1}
        axes = [axis % value.rank for axis, value in zip(axes, scanned, strict=True)]
        self._size = meet([value.shape[at] for at, value in zip(axes, scanned, strict=True) if value.shape is not None])
        carries = any(self._is_changed(at, body) for at in range(self._states))
        self._steps = [
            one_step(value, at, self._loop, carries=carries) for at, value in zip(axes, scanned, strict=True)
        ]
        self._along = {key for value in self._steps for key in node.keys if self._loop in value.track(key).places}

    def _is_changed(self, at: int, body: onnx.GraphProto) -> bool:
        """Whether a step makes another value of a state, rather than pass it on."""
        copies = {each.output[0]: each.input[0] for each in body.node if each.op_type == "Identity"}
        name = self._outputs[at]
        return self._names[at] not in (name, copies.get(name))

    def first_states(self) -> list[Value]:
        """Give what is known of the states before the first step."""
        return [dataclasses.replace(self._node.input(at), content=None, pattern=None) for at in range(self._states)]

    def known(self, states: list[Value]) -> dict[str, Value]:
        """Give what is known of the body's inputs, by name."""
        values = [*states, *self._steps]
        return {name: dataclasses.replace(value, name=name) for name, value in zip(self._names, values, strict=True)}

    def next_states(self, states: list[Value], results: dict[str, Value]) -> list[Value]:
        """Give what is known of the states before any step, from what one step makes of them."""
        held = [self._held(at, results) for at in range(self._states)]
        found = []
        for at, state in enumerate(states):
            made = results[self._outputs[at]]
            if self._backward:
                tracks = {key: self._from_later(key, made.track(key), held) for key in self._node.keys}
                made = dataclasses.replace(made, tracks=tracks)
            found.append(joined([state, before_step(made, self._loop)]))
        return found

    def _from_later(self, key: Key, track: Track, held: list[set[str]]) -> Track:
        """Give the track of a state that comes from later steps."""
        if all(key[1] in each for each in held) and key[0] is Property.PADDING:
            return track  # nothing has changed it at those steps that are padding
        if self._loop in track.places:
            places = {place: reach for place, reach in track.places.items() if place != self._loop}
            sentence = f'runs backward over all steps of "{key[1]}"'
            return join([dataclasses.replace(track, places=places), mixing(self._node, sentence)])
        if key[1] in size_of(self._size).tainted and not self._stops(held):
            return join([track, not_decided(self._node.title)])
        return track

    def _held(self, at: int, results: dict[str, Value]) -> set[str]:
        """Name the sequence axes after whose lengths a step leaves a state as it is."""
        made = results[self._outputs[at]]
        return {axis for axis, name in made.held.items() if name == self._names[at] and self._runs_over(axis)}

    def _runs_over(self, axis: str) -> bool:
        return (Property.PADDING, axis) in self._along

    def _stops(self, held: list[set[str]]) -> bool:
        return any(all(axis in each for each in held) for axis in set().union(*held))

    def results(self, states: list[Value], results: dict[str, Value]) -> list[Value]:
        """Give what is known of the node's results: the last states, then what all steps gave."""
        held = [self._held(at, results) for at in range(self._states)]
        found = [self._last(state, results[self._outputs[at]], held, at) for at, state in enumerate(states)]
        count = len(self._outputs) - self._states
        axes = self._node.attribute("scan_output_axes") or [0] * count
        directions = self._node.attribute("scan_output_directions") or [0] * count
        for number in range(count):
            value = results[self._outputs[self._states + number]]
            at = axes[number] % ((len(value.shape) if value.shape is not None else 0) + 1)
            aligned = bool(directions[number]) == self._backward
            found.append(stacked(self._node, value, at, self._size, self._loop, aligned=aligned))
        return found

    def _last(self, state: Value, made: Value, held: list[set[str]], at: int) -> Value:
        value = joined([state, made])
        tracks = {key: self._ended(key, value.track(key), held, at) for key in self._node.keys}
        return dataclasses.replace(value, tracks=tracks)

    def _ended(self, key: Key, track: Track, held: list[set[str]], at: int) -> Track:
        """Give the track of a state after the last step."""
        kind, axis = key
        places = {place: reach for place, reach in track.places.items() if place != self._loop}
        rest = dataclasses.replace(track, places=places)
        if self._loop not in track.places:
            sized = axis in size_of(self._size).tainted and not held[at]
            return join([rest, not_decided(self._node.title)]) if sized else rest
        if track.places[self._loop].offset > 0:
            return join([rest, not_decided(self._node.title)])
        if kind is Property.CAUSALITY:
            return join([rest, Track({LAST: Reach(exact=False)})])
        if axis in held[at]:
            return rest
        return join([rest, mixing(self._node, f'gives the state after all steps of "{axis}", padding included')])
