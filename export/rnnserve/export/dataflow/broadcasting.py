"""Axes of several inputs that meet at one axis of a result."""

from collections.abc import Sequence

from rnnserve.export.dataflow.flow import At, Source, flow
from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.sizes import Size
from rnnserve.export.dataflow.values import Axis, NotCovered, Shape, Value, size_of

__all__ = ["broadcast", "broadcast_shape", "meet"]

_ONE = Size.of(1)


def broadcast(node: Node, values: Sequence[Value]) -> Value:
    """Give what a result depends on that has at each index what the inputs have there, by NumPy's rules.

    Raises:
        NotCovered: If sizes meet of which it is not known that they are equal, or that one of them is 1.
    """
    shape = broadcast_shape([value.axes for value in values])
    return flow(node, shape, [_aligned(value, len(shape)) for value in values])


def broadcast_shape(shapes: Sequence[Shape]) -> Shape:
    """Give the shape to which shapes are broadcast."""
    rank = max(map(len, shapes), default=0)
    padded = [((_ONE,),) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(meet([shape[at] for shape in padded]) for at in range(rank))


def meet(axes: Sequence[Axis]) -> Axis:
    """Give the axis at which axes of the same size, or of 1, meet.

    Raises:
        NotCovered: If their sizes may differ, or were joined from different axes.
    """
    found: Axis | None = None
    for axis in axes:
        if size_of(axis) == _ONE:
            continue
        if found is None:
            found = axis
        elif axis != found:
            raise NotCovered
    return (_ONE,) if found is None else found


def _aligned(value: Value, rank: int) -> Source:
    return value, [At(at + rank - value.rank) for at in range(value.rank)]
