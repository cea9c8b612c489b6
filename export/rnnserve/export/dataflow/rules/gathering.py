"""Operators that read, or write, at indices."""

import dataclasses
from typing import Any

import numpy as np

from rnnserve.export.dataflow.flow import At, First, Last, Over, Read, Source, flow
from rnnserve.export.dataflow.masks import along
from rnnserve.export.dataflow.moves import moved
from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.registry import rule
from rnnserve.export.dataflow.symbolic import content_of
from rnnserve.export.dataflow.tracks import Property, join, not_decided
from rnnserve.export.dataflow.values import Columns, Ends, NotCovered, Shape, Steps, Value, plain, size_of

__all__: list[str] = []

_DOES = "reads at indices that are computed"


@rule("Gather")
def _gather(node: Node) -> Value:
    data, indices = node.input(0), node.input(1)
    at = node.axis(data.rank)
    shape: Shape = (*data.axes[:at], *indices.axes, *data.axes[at + 1 :])
    reads: list[Read] = [At(other if other < at else other + indices.rank - 1) for other in range(data.rank)]
    numbers = indices.numbers
    if numbers is not None and len(numbers) == 1 and indices.rank <= 1:
        reads[at] = _one(data, at, numbers[0])
    else:
        reads[at] = Over(_DOES, surely=False)
    content: Any = content_of(data)
    if content is not None:
        content = None if numbers is None else np.asarray(np.take(content, np.reshape(numbers, _numbers(indices)), at))
    result = moved(node, shape, data, reads, content)
    if all(indices.track(key).is_free for key in node.keys):
        return result
    both = flow(node, shape, [(data, reads), (indices, [At(at + other) for other in range(indices.rank)])])
    return dataclasses.replace(both, finite=data.wholly_finite)


def _numbers(indices: Value) -> list[int]:
    return [size_of(axis).number or 0 for axis in indices.axes]


def _one(data: Value, at: int, index: int) -> Read:
    """Read one index of an axis: the first is in every row, the last is there after all others."""
    if size_of(data.axes[at]).number is None:
        if index == 0:
            return First()
        if index == -1:
            return Last("reads the last of")
    return Over("reads one of", surely=False)


@rule("GatherElements")
def _gather_elements(node: Node) -> Value:
    data, indices = node.input(0), node.input(1)
    at = node.axis(data.rank)
    reads: list[Read] = [
        At(other) if indices.axes[other] == data.axes[other] else Over("reads some of", surely=False)
        for other in range(data.rank)
    ]
    reads[at] = _computed(data, at, indices)
    result = flow(node, indices.axes, [(data, reads), (indices, [At(other) for other in range(indices.rank)])])
    return dataclasses.replace(result, finite=data.wholly_finite)


def _computed(data: Value, at: int, indices: Value) -> Read:
    """Read an axis at indices that are computed: those of each row's last step, or any."""
    pattern = indices.pattern
    if isinstance(pattern, Ends) and _within(indices, pattern.axis) and along(data, pattern.axis) == at:
        return Last("reads one of", neutral=lambda axis: axis == pattern.axis)
    return Over(_DOES, surely=False)


def _within(indices: Value, axis: str) -> bool:
    """Whether indices are those of each row's last step."""
    return isinstance(indices.pattern, Ends) and indices.pattern.axis == axis and indices.pattern.offset == -1


@rule("GatherND")
def _gather_nd(node: Node) -> Value:
    data, indices = node.input(0), node.input(1)
    columns = _columns(indices)
    if node.attribute("batch_dims", 0) or len(columns) > data.rank:
        raise NotCovered
    front = indices.rank - 1
    reads: list[Read] = [_indexed(data, at, column, front) for at, column in enumerate(columns)]
    reads += [At(front + at) for at in range(data.rank - len(columns))]
    sources: list[Source] = [(data, reads)]
    for at, column in enumerate(columns):
        if not isinstance(reads[at], At):  # else it only says that each row reads itself
            sources.append((column, [*(At(other) for other in range(front)), Over("indexes over", surely=False)]))
    result = flow(node, (*indices.axes[:-1], *data.axes[len(columns) :]), sources)
    return dataclasses.replace(result, finite=data.wholly_finite)


def _columns(indices: Value) -> list[Value]:
    """Give the indices of each axis, a tensor with a last axis of size 1 each."""
    if isinstance(indices.pattern, Columns):
        return list(indices.pattern.parts)
    if size_of(indices.axes[-1]).number == 1:
        return [indices]
    raise NotCovered


def _indexed(data: Value, at: int, column: Value, front: int) -> Read:
    pattern = column.pattern
    is_counted = isinstance(pattern, Steps) and pattern.offset == 0 and 0 <= pattern.place < front
    if isinstance(pattern, Steps) and is_counted and column.axes[pattern.place] == data.axes[at]:
        return At(pattern.place)
    numbers = column.numbers
    if numbers is not None and len(set(numbers)) == 1:
        return _one(data, at, numbers[0])
    return _computed(data, at, column)


@rule("ScatterElements Scatter")
def _scatter_elements(node: Node) -> Value:
    data, indices, updates = node.input(0), node.input(1), node.input(2)
    at = node.axis(data.rank)
    if updates.shape != indices.axes:
        raise NotCovered
    reads: list[Read] = [
        At(other) if indices.axes[other] == data.axes[other] else Over("writes to some of", surely=False)
        for other in range(data.rank)
    ]
    reads[at] = Over("writes at indices that are computed over", surely=False)
    same: list[Read] = [At(other) for other in range(data.rank)]
    result = flow(node, data.axes, [(data, same), (indices, reads), (updates, reads)])
    numbers = indices.numbers
    for other, read in enumerate(reads):
        if not isinstance(read, At):
            result = _written(node, result, other, numbers if other == at else None)
    return dataclasses.replace(result, finite=data.wholly_finite and updates.wholly_finite)


@rule("ScatterND")
def _scatter_nd(node: Node) -> Value:
    data, indices, updates = node.input(0), node.input(1), node.input(2)
    columns = _columns(indices)
    front = indices.rank - 1
    if node.attribute("reduction", b"none") != b"none" or updates.rank != front + data.rank - len(columns):
        raise NotCovered
    places: dict[int, Read] = {}  # where each axis of the indices lies in the result
    for at, column in enumerate(columns):
        read = _indexed(data, at, column, front)
        if isinstance(read, At):
            places[read.axis] = At(at)
    by_index = [
        places.get(other, Over("writes at indices that are computed over", surely=False)) for other in range(front)
    ]
    rest: list[Read] = [At(len(columns) + other) for other in range(data.rank - len(columns))]
    sources: list[Source] = [(data, [At(other) for other in range(data.rank)]), (updates, [*by_index, *rest])]
    for at, column in enumerate(columns):
        if not any(isinstance(read, At) and read.axis == at for read in places.values()):
            sources.append((column, [*by_index, Over("indexes over", surely=False)]))
    result = flow(node, data.axes, sources)
    for at, column in enumerate(columns):
        if not any(isinstance(read, At) and read.axis == at for read in places.values()):
            result = _written(node, result, at, column.numbers)
    return dataclasses.replace(result, finite=data.wholly_finite and updates.wholly_finite)


def _written(node: Node, result: Value, at: int, numbers: list[int] | None) -> Value:
    """Say that some indices of an axis were written to.

    Which rows those are depends on their places. Which steps, on how many there are, where it is counted from the end.
    """
    from_start = numbers is not None and all(number >= 0 for number in numbers)
    tainted = size_of(result.axes[at]).tainted
    tracks = dict(result.tracks)
    for key in node.keys:
        along_rows = any(place[0] == at for place in result.track(key).places) and key[0] is Property.ROWS
        if along_rows or (key[1] in tainted and not from_start):
            tracks[key] = join([result.track(key), not_decided(node.title)])
    return dataclasses.replace(result, tracks=tracks)


@rule("OneHot")
def _one_hot(node: Node) -> Value:
    indices, depth, values = node.input(0), node.input(1), node.input(2)
    if depth.sizes is None or not all(values.track(key).is_free for key in node.keys):
        raise NotCovered
    at = node.axis(indices.rank + 1, -1)
    shape = (*indices.axes[:at], *plain([depth.sizes[0]]), *indices.axes[at:])
    reads: list[Read] = [At(other if other < at else other + 1) for other in range(indices.rank)]
    return dataclasses.replace(flow(node, shape, [(indices, reads)]), finite=values.wholly_finite)
