"""Messages that teach tensor shapes, in the names of the model's own axes.

They tell what came, what was expected axis by axis, and the likely mistake. A message is None if the shape is right.
"""

import itertools
from collections.abc import Sequence

from rnnserve.protos.protocol_words import BATCH
from rnnserve.server.validation.signature import TensorSpec

__all__ = ["axis_name", "wrong_shape", "wrong_size"]


_MAX_AXES = 16
"""Axes that are repeated in a message; no model has as many."""


def axis_name(spec: TensorSpec, axis: int) -> str:
    """Name an axis: `axis 2 (features)`."""
    return f"axis {axis} ({spec.axes[axis]})"


def wrong_shape(spec: TensorSpec, shape: Sequence[int]) -> str | None:
    """Return what is wrong with the shape of an input on its own.

    An axis whose size a request chooses must be 1 or more, or within the limits that the model was published with;
    every other axis has the size that the model was built with.
    """
    shape = list(shape)
    if len(shape) > _MAX_AXES:
        return f'input "{spec.name}" has {len(shape):,} axes; it is {spec}'
    if len(shape) < len(spec.sizes):
        wrong, mistake = _wrong_count(spec, shape), _mistake_of_few_axes(spec, shape)
    elif len(shape) > len(spec.sizes):
        wrong, mistake = _wrong_count(spec, shape), _mistake_of_many_axes(spec, shape)
    else:
        found = _wrong_axis(spec, shape)
        if found is None:
            return None
        wrong, mistake = found, _mistake_in_order(spec, shape)
    said = f'input "{spec.name}" has shape {shape}: {wrong}; {spec.name} is {spec.described_axes}'
    return f"{said}. {mistake}" if mistake else said


def wrong_size(
    spec: TensorSpec, shape: Sequence[int], axis: str, other: TensorSpec, other_shape: Sequence[int]
) -> str | None:
    """Return how the size of the batch or a sequence axis differs from that of the `other` input, which sets it."""
    at, other_at = spec.axes.index(axis), other.axes.index(axis)
    size, expected = shape[at], other_shape[other_at]
    if size == expected:
        return None
    said = (
        f'input "{spec.name}" has shape {list(shape)}: {axis_name(spec, at)} is {size}, but '
        f'{axis_name(other, other_at)} of "{other.name}" is {expected}; '
    )
    said += "every input has one entry a sequence" if axis == BATCH else f"all inputs have the same {axis}"
    first = next(iter(other.sequence_axes.items()), None)
    if axis == BATCH and first is not None and other_shape[first[1]] == size:
        swapped = list(other.axes)
        swapped[other.batch_axis], swapped[first[1]] = first[0], BATCH
        said += (
            f'. Is "{other.name}" {"sequence-first" if other.batch_axis < first[1] else "batch-first"}? Its shape '
            f"{list(other_shape)} would fit as ({', '.join(swapped)}); send ({', '.join(other.axes)})"
        )
    return said


def _wrong_axis(spec: TensorSpec, shape: list[int]) -> str | None:
    """Return which axis has a size that the model does not take, of as many axes as it takes."""
    for axis, (size, expected) in enumerate(zip(shape, spec.sizes, strict=True)):
        if size < 1:
            return f"{axis_name(spec, axis)} is {size}, and must be 1 or more"
        if expected not in (-1, size):
            return f"{axis_name(spec, axis)} is {size} where {expected} is expected"
        low, high = spec.limits.get(spec.axes[axis], (size, size))
        if not low <= size <= high:
            return f"{axis_name(spec, axis)} is {size}, and the model takes {low} to {high}"
    return None


def _wrong_count(spec: TensorSpec, shape: list[int]) -> str:
    found, expected = ("1 axis" if count == 1 else f"{count} axes" for count in (len(shape), len(spec.sizes)))
    return f"has {found} where {expected} should be"


def _mistake_of_few_axes(spec: TensorSpec, shape: list[int]) -> str:
    """The batch axis missing, or the sequence axis as well, or another one."""
    sizes = list(spec.sizes)
    fixed = [size for size in sizes if size >= 0]
    without_batch = [size for at, size in enumerate(sizes) if at != spec.batch_axis]
    if _fits(shape, without_batch):
        steps = " and ".join(
            f"{shape[at - (at > spec.batch_axis)]} {'points' if fixed else 'steps'}"
            for at in spec.sequence_axes.values()
        )
        what = f"One sequence of {steps}" if steps else "One row"
        return f"Is the batch axis missing? {what} is {_inserted(shape, spec.batch_axis)}"
    if spec.sequence_axes and shape == fixed:
        one = [max(size, 1) for size in sizes]
        return f"Are batch and sequence axes missing? One sequence of one point is {one}"
    for at in range(len(sizes)):
        if _fits(shape, sizes[:at] + sizes[at + 1 :]):
            return f"Is an axis missing? {spec.axes[at]} is axis {at}: {_inserted(shape, at, max(sizes[at], 1))}"
    return ""


def _mistake_of_many_axes(spec: TensorSpec, shape: list[int]) -> str:
    """An axis of size 1 too many."""
    if len(spec.sizes) == 1 and len(shape) == 2 and shape[1] == 1:
        return f"Flatten it to [{shape[0]}]"
    for at, size in enumerate(shape):
        if size == 1 and _fits(shape[:at] + shape[at + 1 :], spec.sizes):
            place = "in front" if at == 0 else f"at {at}"
            return f"Is there an axis of size 1 too many {place}?"
    return ""


def _mistake_in_order(spec: TensorSpec, shape: list[int]) -> str:
    """All axes there, in another order."""
    # If every axis of a fixed size is right, a size is beyond a limit, such as a batch of too many rows.
    if not _fits(shape, spec.sizes) and len(shape) <= 4:  # of five axes there are 120 orders already
        # The one that leaves most axes where they are comes first.
        orders = sorted(
            itertools.permutations(range(len(shape))),
            key=lambda order: sum(at != place for place, at in enumerate(order)),
        )
        for order in orders:
            moved = [shape[at] for at in order]
            if _wrong_axis(spec, moved) is None:
                return _say_order(spec, order, moved)
    if not spec.sequence_axes and "layers * directions" in spec.axes:
        at = spec.axes.index("layers * directions")
        if shape[at] != spec.sizes[at]:
            return f"This model has {spec.sizes[at]} in layers * directions: one entry a layer and direction"
    return ""


def _say_order(spec: TensorSpec, order: Sequence[int], moved: list[int]) -> str:
    """Return which order was sent, if the model's axis i was sent as axis order[i]."""
    sent = [spec.axes[list(order).index(at)] for at in range(len(order))]
    if not spec.sequence_axes and order[spec.batch_axis] == 0:
        return (
            f'Is it batch-first? "{spec.name}" is ({", ".join(spec.axes)}), also where other inputs are batch-first: '
            f"{moved}"
        )
    last = spec.axes[-1]
    if order[-1] == 0 and spec.sizes[-1] >= 0:
        return f"Are the {last} in front? They come last: {spec.described_axes}"
    if list(order) == [*range(len(order) - 2), len(order) - 1, len(order) - 2]:
        return f"Are the {last} in the middle, ({', '.join(sent)})? Swap the last two axes: {moved}"
    return f"Are the axes in another order, ({', '.join(sent)})? Send ({', '.join(spec.axes)}): {moved}"


def _fits(shape: Sequence[int], sizes: Sequence[int]) -> bool:
    return len(shape) == len(sizes) and all(e in (-1, size) for size, e in zip(shape, sizes, strict=True))


def _inserted(shape: list[int], at: int, size: int = 1) -> list[int]:
    return [*shape[:at], size, *shape[at:]]
