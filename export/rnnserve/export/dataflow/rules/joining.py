"""Concat: tensors one after the other along an axis."""

import dataclasses

import numpy as np

from rnnserve.export.dataflow.flow import At, Over, Read, Source, flow, numbered
from rnnserve.export.dataflow.masks import along
from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.registry import rule
from rnnserve.export.dataflow.sizes import Size
from rnnserve.export.dataflow.symbolic import content_of
from rnnserve.export.dataflow.tracks import Reach
from rnnserve.export.dataflow.values import Axis, Columns, Content, NotCovered, Value, fill_of, size_of

__all__: list[str] = []


@rule("Concat")
def _concat(node: Node) -> Value:
    values = [node.input(at) for at in range(len(node.inputs))]
    rank = values[0].rank
    at = node.axis(rank)
    sources: list[Source] = []
    start = Size.of(0)
    starts: list[Size] = []
    for value in values:
        reads: list[Read] = [At(other) for other in range(rank)]
        offset = start.number
        reads[at] = Over("joins over", surely=False) if offset is None else At(at, Reach(exact=True, offset=-offset))
        sources.append((value, reads))
        start = start + size_of(value.axes[at])
        starts.append(start)
    shape = tuple((start,) if other == at and len(values) > 1 else _common(values, other) for other in range(rank))
    result = flow(node, shape, sources)
    for boundary in starts[:-1]:
        result = numbered(node, result, boundary)
    contents = [content_of(value) for value in values]
    known = [content for content in contents if content is not None]
    joined: Content | None = np.concatenate(known, at) if len(known) == len(values) else None
    return dataclasses.replace(
        result,
        content=joined,
        fill=fill_of(joined) if joined is not None and joined.dtype != object else _one_fill(values),
        after=_after(values, result, at),
        finite=all(value.wholly_finite for value in values),
        pattern=Columns(tuple(values)) if _are_columns(values, at) else None,
    )


def _are_columns(values: list[Value], at: int) -> bool:
    return at == values[0].rank - 1 and all(
        value.shape is not None and size_of(value.axes[at]) == Size.of(1) for value in values
    )


def _common(values: list[Value], at: int) -> Axis:
    axes = {value.axes[at] for value in values if value.shape is not None and value.rank == values[0].rank}
    if len(axes) > 1 or any(value.rank != values[0].rank for value in values):
        raise NotCovered
    return axes.pop()


def _one_fill(values: list[Value]) -> float | None:
    fills = {value.fill for value in values}
    return fills.pop() if len(fills) == 1 else None


def _after(values: list[Value], result: Value, at: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for axis in {axis for value in values for axis in value.after}:
        numbers = {value.after.get(axis, value.fill) for value in values}
        place = along(result, axis)
        places = {along(value, axis) for value in values if axis in value.after}
        number = numbers.pop() if len(numbers) == 1 else None
        if number is not None and place is not None and place != at and places == {place}:
            found[axis] = number
    return found
