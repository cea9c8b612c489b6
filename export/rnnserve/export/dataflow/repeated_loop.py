"""Loop: a body that is repeated as often as a number, or a condition, says."""

import dataclasses

import onnx

from rnnserve.export.dataflow.loop_values import joined, stacked
from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.sizes import computed
from rnnserve.export.dataflow.tracks import FREE, LAST, Key, Place, Track, join, not_decided
from rnnserve.export.dataflow.values import NotCovered, Steps, Value

__all__ = ["RepeatedLoop"]


class RepeatedLoop:
    """A Loop node, as far as it does not depend on what its body computes."""

    def __init__(self, node: Node, body: onnx.GraphProto, depth: int) -> None:
        """Read a node's inputs."""
        self._node = node
        self._names = [value.name for value in body.input]
        self._outputs = [value.name for value in body.output]
        self._states = len(self._names) - 2
        self._loop: Place = (LAST[0] - 1 - depth, 0)
        count, condition = node.optional(0), node.optional(1)
        sizes = None if count is None else count.sizes
        self._tainted = frozenset() if sizes is None else sizes[0].tainted
        self._ends: list[Value] = [] if count is None or sizes is not None else [count]
        self._ends += [] if condition is None else [condition]

    def first_states(self) -> list[Value]:
        """Give what is known of the states before the first time."""
        return [
            dataclasses.replace(self._node.input(at + 2), content=None, pattern=None, fill=None)
            for at in range(self._states)
        ]

    def known(self, states: list[Value]) -> dict[str, Value]:
        """Give what is known of the body's inputs, by name."""
        number = Value((), pattern=Steps(self._loop[0]), finite=True)
        condition = Value((), {key: self._times(key, FREE) for key in self._node.keys}, finite=True)
        values = [number, condition, *states]
        return {name: dataclasses.replace(value, name=name) for name, value in zip(self._names, values, strict=True)}

    def next_states(self, states: list[Value], results: dict[str, Value]) -> list[Value]:
        """Give what is known of the states before any time, from what one time makes of them."""
        return [joined([state, results[self._outputs[at + 1]]]) for at, state in enumerate(states)]

    def _times(self, key: Key, condition: Track) -> Track:
        """Give what the number of times depends on."""
        ends = join([condition, *(value.track(key) for value in self._ends)])
        return join([ends, not_decided(self._node.title)]) if key[1] in self._tainted else ends

    def results(self, states: list[Value], results: dict[str, Value]) -> list[Value]:
        """Give what is known of the node's results: the last states, then what all times gave."""
        condition = results[self._outputs[0]]
        found = []
        for at, name in enumerate(self._outputs[1:]):
            value = results[name]
            if at < self._states:
                value = joined([states[at], value])
            else:
                if value.shape is None:
                    raise NotCovered
                size = computed(f"times of {self._node.title}", tainted=self._tainted)
                value = stacked(self._node, value, 0, (size,), self._loop, aligned=True)
            tracks = {key: join([value.track(key), self._times(key, condition.track(key))]) for key in self._node.keys}
            found.append(dataclasses.replace(value, tracks=tracks))
        return found
