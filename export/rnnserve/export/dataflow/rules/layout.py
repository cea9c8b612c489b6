"""Operators that reorder, add, remove or repeat axes."""

import dataclasses

import numpy as np

from rnnserve.export.dataflow.broadcasting import meet
from rnnserve.export.dataflow.flow import At, Over, Read
from rnnserve.export.dataflow.moves import moved
from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.registry import rule
from rnnserve.export.dataflow.sizes import Size
from rnnserve.export.dataflow.symbolic import content_of
from rnnserve.export.dataflow.values import MOST_CONTENT, Axis, NotCovered, Value, plain, size_of

__all__: list[str] = []

_ONE = Size.of(1)


def axes_of(node: Node, rank: int, at: int = 1) -> list[int] | None:
    """Read axes from an attribute or an input, as numbers from 0 on; None where neither is there."""
    axes = node.attribute("axes")
    if axes is None:
        given = node.optional(at)
        if given is None:
            return None
        axes = given.numbers
        if axes is None:
            raise NotCovered
    if any(not -rank <= axis < rank for axis in axes):
        raise NotCovered
    return [int(axis) % rank for axis in axes]


@rule("Transpose")
def _transpose(node: Node) -> Value:
    value = node.input(0)
    order = list(node.attribute("perm") or reversed(range(value.rank)))
    content = content_of(value)
    return moved(
        node,
        tuple(value.axes[at] for at in order),
        value,
        [At(order.index(at)) for at in range(value.rank)],
        None if content is None else content.transpose(order),
    )


@rule("Unsqueeze")
def _unsqueeze(node: Node) -> Value:
    value = node.input(0)
    count = len(node.attribute("axes") or node.input(1).numbers or ())
    added = axes_of(node, value.rank + count)
    if added is None or not count:
        raise NotCovered
    kept = [at for at in range(value.rank + count) if at not in added]
    shape: list[Axis] = [(_ONE,)] * (value.rank + count)
    for at, axis in zip(kept, value.axes, strict=True):
        shape[at] = axis
    content = content_of(value)
    return moved(
        node,
        tuple(shape),
        value,
        [At(at) for at in kept],
        None if content is None else np.expand_dims(content, tuple(added)),
    )


@rule("Squeeze")
def _squeeze(node: Node) -> Value:
    value = node.input(0)
    removed = axes_of(node, value.rank)
    if removed is None:
        removed = [at for at, axis in enumerate(value.axes) if size_of(axis) == _ONE]
        if any(size_of(axis).number is None for axis in value.axes):
            raise NotCovered  # which axes go depends on sizes
    if any(size_of(value.axes[at]) != _ONE for at in removed):
        raise NotCovered
    kept = [at for at in range(value.rank) if at not in removed]
    reads: list[Read] = [
        At(kept.index(at)) if at in kept else Over("squeezes over", surely=False) for at in range(value.rank)
    ]
    content = content_of(value)
    return moved(
        node,
        tuple(value.axes[at] for at in kept),
        value,
        reads,
        None if content is None else content.squeeze(tuple(removed)),
    )


@rule("Expand")
def _expand(node: Node) -> Value:
    value, sizes = node.input(0), node.input(1).sizes
    if sizes is None:
        raise NotCovered
    return expanded(node, value, sizes)


def expanded(node: Node, value: Value, sizes: list[Size]) -> Value:
    """Give what is known of a tensor that is repeated along axes of size 1, and along new ones in front."""
    rank = max(value.rank, len(sizes))
    old = ((_ONE,),) * (rank - value.rank) + value.axes
    new = plain([*[1] * (rank - len(sizes)), *sizes])
    shape = tuple(
        axis if size_of(axis) == size_of(wanted) else meet([axis, wanted])
        for axis, wanted in zip(old, new, strict=True)
    )
    content = content_of(value)
    numbers = [size_of(axis).number for axis in shape]
    if content is not None and (None in numbers or np.prod([number or 0 for number in numbers]) > MOST_CONTENT):
        content = None
    if content is not None:
        content = np.broadcast_to(content, [number or 0 for number in numbers])
    reads = [At(at + rank - value.rank) for at in range(value.rank)]
    copies = [at for at in range(rank) if size_of(old[at]) == _ONE and size_of(shape[at]) != _ONE]
    result = moved(node, shape, value, reads, content, copies)
    return dataclasses.replace(result, fill=value.fill)


@rule("Tile")
def _tile(node: Node) -> Value:
    """Repeat a tensor: along axes of size 1 as Expand does, along others as often as a number says."""
    value, repeats = node.input(0), node.input(1).sizes
    if repeats is None or len(repeats) != value.rank:
        raise NotCovered
    single = [size_of(axis) == _ONE for axis in value.axes]
    if all(repeat == _ONE or one for repeat, one in zip(repeats, single, strict=True)):
        return expanded(node, value, repeats)
    shape = tuple(
        axis if repeat == _ONE else (size_of(axis) * repeat,) for axis, repeat in zip(value.axes, repeats, strict=True)
    )
    reads: list[Read] = [
        At(at) if repeat == _ONE else Over("repeats over", surely=False) for at, repeat in enumerate(repeats)
    ]
    copies = [at for at, one in enumerate(single) if one and repeats[at] != _ONE]
    return dataclasses.replace(moved(node, shape, value, reads, copies=copies), fill=value.fill)
