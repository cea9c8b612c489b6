"""Numbers of rows, or of steps: what computes with them, and what only reads rows by them."""

import dataclasses

from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.tracks import BY_NUMBER, COMPUTES, NUMBERS, Key, Reason, Track
from rnnserve.export.dataflow.values import Columns, Value

__all__ = ["INDICES", "READING", "with_numbers"]

READING = ("Gather", "GatherElements", "GatherND", "Scatter", "ScatterElements", "ScatterND")
"""Operators that read or write at indices."""
INDICES = 1
"""The number of the input of these that holds indices."""
_KEEPING = (  # operators by which graphs make indices: of numbers, their results are numbers still
    *("Add", "Cast", "CastLike", "Concat", "Expand", "Flatten", "Identity", "Mul", "Neg", "Reshape", "Slice", "Split"),
    *("Squeeze", "Sub", "Tile", "TopK", "Transpose", "Unsqueeze", "If", "Loop", "Scan"),
)


def with_numbers(node: Node) -> Node:
    """Give a node as what it does with numbers of rows, or of steps, says it.

    Where they are indices of what lies along these rows, each row may be read in its place: so graphs put rows back
    that were sorted. Whatever else is computed with them, such as a comparison, may give each row another result by its
    number, and so does a table from which each row takes the entry of its number.
    """
    inputs = [None if value is None else _read(node, at, value) for at, value in enumerate(node.inputs)]
    return dataclasses.replace(node, inputs=inputs)


def _read(node: Node, at: int, value: Value) -> Value:
    if not any(reason.sentence == NUMBERS for track in value.tracks.values() for reason in track.undecided):
        return value
    tracks = {key: _told(track, _does(node, at, key)) for key, track in value.tracks.items()}
    pattern = value.pattern
    if isinstance(pattern, Columns):
        pattern = dataclasses.replace(pattern, parts=tuple(_read(node, at, part) for part in pattern.parts))
    return dataclasses.replace(value, tracks=tracks, pattern=pattern)


def _does(node: Node, at: int, key: Key) -> str:
    """Say what a node does with numbers that are one of its inputs."""
    if node.operator in READING:
        data = node.inputs[0]
        if at != INDICES:
            return NUMBERS
        return COMPUTES if data is not None and data.track(key).is_free else BY_NUMBER
    if node.operator in ("Shape", "Size"):
        return BY_NUMBER  # there are as many of them, whatever they are
    is_alone = node.operator == "Max" and len(node.inputs) == 1  # as torch writes indices
    return NUMBERS if is_alone or node.operator in _KEEPING else COMPUTES


def _told(track: Track, does: str) -> Track:
    said = (Reason(each.node, does) if each.sentence == NUMBERS else each for each in track.undecided)
    return dataclasses.replace(track, undecided=tuple(dict.fromkeys(said)))
