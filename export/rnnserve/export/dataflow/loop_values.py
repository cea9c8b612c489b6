"""What is known of a value in a loop's body, and of what the loop makes of it."""

import dataclasses

from rnnserve.export.dataflow.flow import guarded
from rnnserve.export.dataflow.masks import along
from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.tracks import Key, Place, Property, Reach, Reason, Track, join, not_decided
from rnnserve.export.dataflow.values import Axis, Ends, Inside, NotCovered, Pattern, Shape, Steps, Value

__all__ = ["before_step", "joined", "mixing", "one_step", "same_shape", "stacked"]


def one_step(value: Value, at: int, loop: Place, *, carries: bool = True) -> Value:
    """Give what is known of one step of a tensor, inside the loop that runs over an axis of it.

    Args:
        value: The tensor.
        at: The axis.
        loop: Stands for the axis in the body.
        carries: Whether the loop has states, by which a step may depend on others.
    """
    if value.shape is None or len(value.shape[at]) > 1:
        raise NotCovered
    tracks = {}
    for key, track in value.tracks.items():
        if key[0] is Property.ROWS and (at, 0) in track.places and carries:
            raise NotCovered  # a loop over rows, each of which may reach later ones
        places = {_without(place, at, loop): reach for place, reach in track.places.items()}
        tracks[key] = dataclasses.replace(track, places=places)
    shape = (*value.shape[:at], *value.shape[at + 1 :])
    pattern = _sliced(value.pattern, at, loop[0])
    return Value(shape, tracks, pattern=pattern, after=value.after, fill=value.fill, finite=value.finite)


def _without(place: Place, at: int, loop: Place) -> Place:
    if place[0] == at:
        return loop
    return (place[0] - 1, place[1]) if place[0] > at else place


def _sliced(pattern: Pattern | None, at: int, loop: int) -> Pattern | None:
    def moved(place: int) -> int:
        return loop if place == at else place - 1 if place > at else place

    if isinstance(pattern, Steps | Ends):
        is_lost = isinstance(pattern, Ends) and pattern.place == at
        return None if is_lost else dataclasses.replace(pattern, place=moved(pattern.place))
    if isinstance(pattern, Inside) and pattern.rows != at:
        return dataclasses.replace(pattern, steps=moved(pattern.steps), rows=moved(pattern.rows))
    return None


def same_shape(values: list[Value]) -> Shape:
    """Give the shape that values have, all of them."""
    shapes = {value.shape for value in values}
    shape = shapes.pop()
    if shapes or shape is None:
        raise NotCovered
    return shape


def joined(values: list[Value]) -> Value:
    """Give what is known of a value that is one of several."""
    keys = dict.fromkeys(key for value in values for key in value.tracks)
    return Value(
        same_shape(values),
        {key: join(value.track(key) for value in values) for key in keys},
        finite=all(value.wholly_finite for value in values),
    )


def before_step(value: Value, loop: Place) -> Value:
    """Give what is known of a value of the step before: it reaches as far as that step does."""
    tracks = {}
    for key, track in value.tracks.items():
        reaches = dict(track.places)
        if loop in reaches:
            reaches[loop] = Reach(exact=False, offset=reaches[loop].offset - 1, by=reaches[loop].by)
        tracks[key] = dataclasses.replace(track, places=reaches)
    return dataclasses.replace(value, tracks=tracks)


def stacked(node: Node, value: Value, at: int, size: Axis, loop: Place, *, aligned: bool) -> Value:
    """Give what is known of the values of all steps, one after the other along a new axis.

    Args:
        node: The loop.
        value: Value of one step.
        at: The new axis.
        size: Size of the new axis.
        loop: Stands for the axis in the body.
        aligned: Whether the steps have the order that they have in what the loop runs over.
    """
    if value.shape is None:
        raise NotCovered
    shape = (*value.shape[:at], size, *value.shape[at:])
    tracks: dict[Key, Track] = {}
    for key in node.keys:
        track = value.track(key)
        places = {
            ((at, 0) if place == loop else (place[0] + 1, place[1]) if place[0] >= at else place): reach
            for place, reach in track.places.items()
        }
        found = dataclasses.replace(track, places=places)
        if loop in track.places and not aligned:
            found = join([dataclasses.replace(found, places={}), not_decided(node.title)])
        is_numbered = loop not in track.places and any(key[1] in each.made_of for each in size)
        if is_numbered and key[0] is not Property.ROWS:
            found = join([found, Track({(at, 0): Reach()})])
        tracks[key] = guarded(node, key, found, shape)
    result = Value(shape, tracks, finite=value.finite)
    after = {
        axis: number
        for axis, number in value.after.items()
        if along(value, axis) == loop[0] and along(result, axis) == at and aligned
    }
    kept = all(axis in after or abs(number) < float("inf") for axis, number in value.after.items())
    return dataclasses.replace(result, after=after, finite=value.finite and kept)


def mixing(node: Node, sentence: str) -> Track:
    """Give the track of values that a loop computes over steps in question."""
    return Track(mixing=(Reason(node.title, sentence),))
