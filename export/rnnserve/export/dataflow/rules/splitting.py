"""Operators that divide a tensor into parts along an axis of a fixed size."""

import dataclasses

from rnnserve.export.dataflow.flow import At, Read
from rnnserve.export.dataflow.moves import moved
from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.registry import rule
from rnnserve.export.dataflow.sizes import Size
from rnnserve.export.dataflow.symbolic import content_of
from rnnserve.export.dataflow.tracks import Reach
from rnnserve.export.dataflow.values import Columns, NotCovered, Value, size_of

__all__: list[str] = []


@rule("Split")
def _split(node: Node) -> list[Value]:
    value = node.input(0)
    at = node.axis(value.rank)
    return _parts(node, value, at, _split_sizes(node, size_of(value.axes[at])))


@rule("SplitToSequence")
def _split_to_sequence(node: Node) -> Value:
    """Give parts that `SequenceAt` reads one by one; of what anything else makes of them, nothing is known."""
    value, split = node.input(0), node.input(1)
    at, numbers = node.axis(value.rank), split.numbers
    total = size_of(value.axes[at]).number
    if numbers is None or total is None:
        raise NotCovered
    sizes = [min(numbers[0], total - start) for start in range(0, total, numbers[0])] if split.rank == 0 else numbers
    parts = tuple(_parts(node, value, at, sizes))
    return dataclasses.replace(node.undecided(), shape=(), pattern=Columns(parts))


@rule("SequenceAt")
def _sequence_at(node: Node) -> Value:
    sequence, index = node.input(0), node.input(1).numbers
    if index is None or not isinstance(sequence.pattern, Columns):
        raise NotCovered
    return sequence.pattern.parts[index[0]]


def _parts(node: Node, value: Value, at: int, sizes: list[int]) -> list[Value]:
    results = []
    start = 0
    for size in sizes:
        reads: list[Read] = [At(other) for other in range(value.rank)]
        reads[at] = At(at, Reach(exact=True, offset=start))
        shape = (*value.axes[:at], (Size.of(size),), *value.axes[at + 1 :])
        content = content_of(value)
        cut = (slice(None),) * at + (slice(start, start + size),)
        results.append(moved(node, shape, value, reads, None if content is None else content[cut]))
        start += size
    return results


def _split_sizes(node: Node, size: Size) -> list[int]:
    sizes = node.attribute("split")
    given = node.optional(1)
    if sizes is None and given is not None:
        sizes = given.numbers
        if sizes is None:
            raise NotCovered
    total = size.number
    if total is None:
        raise NotCovered
    if sizes is None:
        count = len(node.outputs)
        each = -(-total // count)
        sizes = [min(each, total - each * number) for number in range(count)]
    return [int(each) for each in sizes]
