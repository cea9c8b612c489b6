"""Operators that divide and join axes and leave the values in their order in memory."""

import dataclasses
import math

from rnnserve.export.dataflow.flow import guarded
from rnnserve.export.dataflow.masks import along
from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.registry import rule
from rnnserve.export.dataflow.sizes import Size, quotient
from rnnserve.export.dataflow.symbolic import content_of
from rnnserve.export.dataflow.tracks import Place, Track, join, not_decided
from rnnserve.export.dataflow.values import Axis, Ends, Inside, NotCovered, Pattern, Shape, Steps, Value, flat, size_of

__all__: list[str] = []

_ONE = Size.of(1)

Part = tuple[int, int, Size]
"""A factor of an axis of the input: axis, number in it, size."""


@rule("Flatten")
def _flatten(node: Node) -> Value:
    value = node.input(0)
    at = int(node.attribute("axis", 1))
    at = at + value.rank if at < 0 else at
    sizes = [math.prod((size_of(axis) for axis in part), start=_ONE) for part in (value.axes[:at], value.axes[at:])]
    return reshaped(node, value, sizes)


@rule("Reshape")
def _reshape(node: Node) -> Value:
    value, wanted = node.input(0), node.input(1).sizes
    if wanted is None:
        raise NotCovered
    if not node.attribute("allowzero", 0):
        if any(size.number == 0 and at >= value.rank for at, size in enumerate(wanted)):
            raise NotCovered
        wanted = [size_of(value.axes[at]) if size.number == 0 else size for at, size in enumerate(wanted)]
    total = math.prod(map(size_of, value.axes), start=_ONE)
    unknown = [at for at, size in enumerate(wanted) if size.number == -1]
    if unknown:
        rest = math.prod((size for at, size in enumerate(wanted) if at != unknown[0]), start=_ONE)
        inferred = quotient(total, rest)
        if inferred is None or len(unknown) > 1:
            raise NotCovered
        wanted[unknown[0]] = inferred
    if math.prod(wanted, start=_ONE) != total:
        raise NotCovered
    return reshaped(node, value, wanted)


def reshaped(node: Node, value: Value, sizes: list[Size]) -> Value:
    """Give what is known of a tensor with other axes, which hold the same values in the same order.

    Raises:
        NotCovered: If an axis in question would be divided, or joined with a part of another.
    """
    parts = [part for part in flat(value.axes) if part[2] != _ONE]
    shape: list[Axis] = []
    now: dict[Place, Place] = {}
    for at, size in enumerate(sizes):
        taken = _take(parts, size)
        for number, (old, old_number, _) in enumerate(taken):
            if old >= 0:
                now[old, old_number] = (at, number)
        shape.append(tuple(part[2] for part in taken) or (_ONE,))
    if parts:
        raise NotCovered
    new: Shape = tuple(shape)
    tracks = {}
    for key, track in value.tracks.items():
        places = {
            now[place] if place[0] >= 0 else place: reach
            for place, reach in track.places.items()
            if place[0] < 0 or place in now
        }
        found = Track(places, track.mixing, track.undecided)
        if len(places) < len(track.places):
            found = join([found, not_decided(node.title)])
        tracks[key] = guarded(node, key, found, new)
    content = content_of(value)
    numbers = [size.number for size in sizes]
    if content is not None and None not in numbers:
        content = content.reshape([number or 0 for number in numbers])
    else:
        content = None
    result = Value(new, tracks, content, fill=value.fill, finite=value.finite)
    pattern = _pattern(value.pattern, now, new)
    after = {}
    for axis, held in value.after.items():
        before = along(value, axis)
        place = (before, 0) if before is not None and before < 0 else now.get((before or 0, 0))
        if before is not None and place is not None and place[0] == along(result, axis):
            after[axis] = held
    finite = value.finite and all(axis in after or math.isfinite(number) for axis, number in value.after.items())
    return dataclasses.replace(result, pattern=pattern, after=after, finite=finite)


def _take(parts: list[Part], size: Size) -> list[Part]:
    """Take as many factors from the front as make a size; a fixed size is divided where it has to be."""
    taken: list[Part] = []
    while size != _ONE:
        if not parts:
            raise NotCovered
        _, number, factor = parts[0]
        rest = quotient(size, factor)
        if rest is not None:
            taken.append(parts.pop(0))
            size = rest
            continue
        within = quotient(factor, size)
        if within is None or size.number is None or factor.number is None:
            raise NotCovered
        parts[0] = (-1, number, within)  # a part of a fixed axis, along which no rows or steps lie
        taken.append((-1, number, size))
        size = _ONE
    return _joined(taken)


def _joined(taken: list[Part]) -> list[Part]:
    """Multiply neighbours of fixed sizes, so that axes have as few factors as say where rows and steps lie."""
    joined: list[Part] = []
    for part in taken:
        if joined and joined[-1][2].number is not None and part[2].number is not None:
            joined[-1] = (-1, 0, joined[-1][2] * part[2])
        else:
            joined.append(part)
    return joined


def _pattern(pattern: Pattern | None, now: dict[Place, Place], shape: Shape) -> Pattern | None:
    """Move a pattern whose axes are still axes of their own."""

    def place(at: int) -> int | None:
        moved = now.get((at, 0))
        return at if at < 0 else moved[0] if moved is not None and len(shape[moved[0]]) == 1 else None

    if isinstance(pattern, Steps | Ends):
        at = place(pattern.place)
        return None if at is None else dataclasses.replace(pattern, place=at)
    if isinstance(pattern, Inside):
        steps, rows = place(pattern.steps), place(pattern.rows)
        return None if steps is None or rows is None else dataclasses.replace(pattern, steps=steps, rows=rows)
    return None
