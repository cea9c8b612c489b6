"""Operators that cut axes, or pad them."""

import dataclasses
import math
from typing import Any

from rnnserve.export.dataflow.flow import At, Last, Over, Read, numbered
from rnnserve.export.dataflow.masks import along
from rnnserve.export.dataflow.moves import moved
from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.registry import rule
from rnnserve.export.dataflow.rules.layout import axes_of
from rnnserve.export.dataflow.sizes import Size, computed, maximum, minimum
from rnnserve.export.dataflow.symbolic import content_of
from rnnserve.export.dataflow.tracks import COMPUTES, CUTS, Property, Reach, join, not_decided
from rnnserve.export.dataflow.values import Axis, NotCovered, Value, size_of
from rnnserve.protos.protocol_words import BATCH

__all__: list[str] = []

_FAR = 2**31 - 1  # from here on an end means that of the axis


@rule("Slice")
def _slice(node: Node) -> Value:
    value = node.input(0)
    starts, ends = _given(node, "starts", 1), _given(node, "ends", 2)
    copies, cut = [], []
    axes = axes_of(node, value.rank, 3)
    steps = node.optional(4)
    numbers = [1] * len(starts) if steps is None else steps.numbers
    if numbers is None or len(starts) != len(ends):
        raise NotCovered
    reads: list[Read] = [At(at) for at in range(value.rank)]
    shape: list[Axis] = list(value.axes)
    slices: list[slice] = [slice(None)] * value.rank
    for at, start, end, step in zip(axes or range(len(starts)), starts, ends, numbers, strict=False):
        if step == 1:
            reads[at], size = _cut(at, size_of(shape[at]), start, end)
            if size_of(shape[at]).number is not None and size.number is None:
                copies.append(at)
            if size != size_of(shape[at]):
                cut += [at] if _is_by_number(start, end) else []
                shape[at] = (size,)
        else:
            does = "reverses" if step < 0 else "leaves out some of"
            shape[at] = (_stepped(size_of(shape[at]), start, end, step),)
            reads[at] = Over(does, surely=False)
        slices[at] = slice(_far(start), _far(end), step)
    content: Any = content_of(value)
    if content is not None:
        known = all(bound.number is not None for bound in (*starts, *ends))
        content = content[tuple(slices)] if known else None
    result = moved(node, tuple(shape), value, reads, content, copies)
    for at in copies:
        result = _row_numbers(node, result, at)
    return _cut_rows(node, result, value, cut)


def _is_by_number(start: Size, end: Size) -> bool:
    """Whether it is a certain number of rows, or of steps, that are taken or left out, from either end."""
    return start.number not in (None, 0) or (end.number is not None and end.number < _FAR)


def _cut_rows(node: Node, result: Value, value: Value, axes: list[int]) -> Value:
    """Say that rows are taken by their number, where not all are left: a few rows do not show which are."""
    tracks = {
        key: join([track, not_decided(node.title, CUTS)])
        if any(reason.node == node.title for reason in track.undecided)
        and any(at in axes for at, _ in value.track(key).places)
        else track
        for key, track in result.tracks.items()
    }
    return dataclasses.replace(result, tracks=tracks)


def _row_numbers(node: Node, result: Value, at: int) -> Value:
    """Say that a table of which there is an entry for each row gives each row one by its place in the batch."""
    is_even = result.fill is not None  # all entries are one number
    tracks = {
        key: join([track, not_decided(node.title, "" if is_even else COMPUTES)])
        if key[0] is Property.ROWS and key[1] in size_of(result.axes[at]).tainted
        else track
        for key, track in result.tracks.items()
    }
    return dataclasses.replace(result, tracks=tracks)


def _given(node: Node, name: str, at: int) -> list[Size]:
    if name in node.attributes:
        return [Size.of(number) for number in node.attributes[name]]
    sizes = node.input(at).sizes
    if sizes is None:
        raise NotCovered
    return sizes


def _far(bound: Size) -> int | None:
    number = bound.number
    return None if number is None or abs(number) >= _FAR else number


def _cut(at: int, size: Size, start: Size, end: Size) -> tuple[Read, Size]:
    """Give how an axis is read of which a stretch is left, and its size."""
    stop = _stop(size, end)
    first = start.number
    if first is not None and first < 0:
        first = None if size.number is None else max(size.number + first, 0)
        if first is None and size == stop and start.number is not None and _is_natural(size + start):
            return Last("reads the last of"), -start  # there are always as many: of a sequence, or of it and a window
        if first is None and size + start == stop - 1:
            return Last("reads the last of"), Size.of(1)
    if first is None and start == size - 1:
        return Last("reads the last of"), Size.of(1)
    if first is None:
        return Over("reads some of", surely=False), computed("slice", size, start, end, lowest=0)
    if size.number is not None:
        first = min(first, size.number)
    left = maximum(stop - first, Size.of(0))
    return At(at, Reach(exact=True, offset=first)), left


def _is_natural(size: Size) -> bool:
    return size.lowest is not None and size.lowest >= 0


def _stop(size: Size, end: Size) -> Size:
    number = end.number
    if number is None and size.number is not None and size.number > 1:
        return end  # of a table that has an entry for each step; with fewer, a sum with the steps raises an error
    if number is None:
        # Lengths are never more than the steps of their axis.
        longest = str(end) == f"longest of {size}"
        return end if longest else minimum(size, end)
    if number >= _FAR:
        return size
    return maximum(size + number, Size.of(0)) if number < 0 else minimum(size, end)


def _stepped(size: Size, start: Size, end: Size, step: int) -> Size:
    if size.number is not None and start.number is not None and end.number is not None:
        return Size.of(len(range(*slice(_far(start), _far(end), step).indices(size.number))))
    first, last = start.number, end.number
    if step == -1 and first is not None and last is not None and (first == -1 or first >= _FAR) and last <= -_FAR:
        return size  # all of it, the other way round
    return computed(f"slice by {step}", size, start, end, lowest=0)


@rule("Pad")
def _pad(node: Node) -> Value:
    value = node.input(0)
    pads = _given(node, "pads", 1)
    axes = axes_of(node, value.rank, 3) or list(range(value.rank))
    fill = node.optional(2)
    number = float(node.attribute("value", 0.0)) if fill is None else fill.fill
    is_constant = node.attribute("mode", b"constant") == b"constant"
    if len(pads) != 2 * len(axes) or (is_constant and number is None):
        raise NotCovered
    reads: list[Read] = [At(at) for at in range(value.rank)]
    shape: list[Axis] = list(value.axes)
    padded = []
    boundaries = []
    for at, before, behind in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        if before.number == 0 and behind.number == 0:
            continue
        padded.append(at)
        if behind.number != 0:
            kept = [axis for axis, end in value.after.items() if along(value, axis) == at and end == number]
            # Zeros after zeros: from which step on does not matter, neither to the rows nor to a row's padding.
            boundaries.append((size_of(shape[at]) + before, [*kept, *([BATCH] if kept else [])]))
        shape[at] = (size_of(shape[at]) + before + behind,)
        shifted = is_constant and before.number is not None
        reads[at] = (
            At(at, Reach(exact=True, offset=-(before.number or 0))) if shifted else Over("pads over", surely=False)
        )
    result = moved(node, tuple(shape), value, reads)
    for boundary, unseen in boundaries:
        result = numbered(node, result, boundary, unseen if is_constant else ())
    after = {axis: kept for axis, kept in result.after.items() if along(result, axis) not in padded or kept == number}
    lost = any(kept != after.get(axis) and not math.isfinite(kept) for axis, kept in result.after.items())
    finite = result.finite and not lost and (not is_constant or (number is not None and math.isfinite(number)))
    return dataclasses.replace(
        result, after=after, pattern=None, fill=number if value.fill == number else None, finite=finite
    )
