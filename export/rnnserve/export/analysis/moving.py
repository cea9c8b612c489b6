"""Rules of operators that move, copy, join or drop values, read or write at indices, or read sizes."""

import dataclasses
import math
from typing import Any

import numpy as np

from rnnserve.export.analysis.flow import (
    At,
    First,
    Last,
    Node,
    Over,
    Read,
    Source,
    created,
    flow,
    guarded,
    meet,
    moved,
    numbered,
)
from rnnserve.export.analysis.sizes import Size, computed, maximum, minimum, quotient
from rnnserve.export.analysis.values import (
    COMPUTES,
    COUNTS,
    CUTS,
    NUMBERS,
    ONE,
    Axis,
    Columns,
    Ends,
    NotCovered,
    Place,
    Property,
    Reach,
    Reason,
    Shape,
    Steps,
    Track,
    Value,
    along,
    carried,
    constant,
    join,
    not_decided,
    plain,
    size_of,
    symbolic,
)
from rnnserve.protos.protocol_words import BATCH

_FAR = 2**31 - 1  # a bound this large means the end of the axis
_COMPUTED = "reads at computed indices"


def unknown(_: Node) -> Value:
    """Report that the dependencies of the result are unknown."""
    raise NotCovered


def same_axes(value: Value) -> list[Read]:
    """Read each axis at the same index as the result."""
    return [At(at) for at in range(value.rank)]


def transpose(node: Node) -> Value:
    """Reorder axes."""
    value = node.input(0)
    order = list(node.attribute("perm") or reversed(range(value.rank)))
    reads = [At(order.index(at)) for at in range(value.rank)]
    return moved(node, tuple(value.axes[at] for at in order), value, reads)


def unsqueeze(node: Node) -> Value:
    """Add axes of size 1."""
    value = node.input(0)
    added = node.axes(value.rank + len(node.attribute("axes") or node.input(1).numbers or ()))
    if not added:
        raise NotCovered
    sizes = [size_of(axis) for axis in value.axes]
    for at in sorted(added):
        sizes.insert(at, ONE)
    return _reshaped(node, value, sizes)


def squeeze(node: Node) -> Value:
    """Remove axes of size 1."""
    value = node.input(0)
    sizes = [size_of(axis) for axis in value.axes]
    removed = node.axes(value.rank)
    if removed is None:
        removed = [at for at, size in enumerate(sizes) if size == ONE]
        if any(size.number is None for size in sizes):
            raise NotCovered  # the removed axes depend on sizes
    if any(sizes[at] != ONE for at in removed):
        raise NotCovered
    return _reshaped(node, value, [size for at, size in enumerate(sizes) if at not in removed])


def expand(node: Node) -> Value:
    """Repeat along axes of size 1: up to given sizes, with new axes in front (Expand), or a number of times (Tile)."""
    value, sizes = node.input(0), node.input(1).sizes
    if sizes is None:
        raise NotCovered
    if node.operator == "Tile" and not all(
        ONE in (repeats, size_of(axis)) for axis, repeats in zip(value.axes, sizes, strict=True)
    ):
        raise NotCovered
    rank = max(value.rank, len(sizes))
    old = ((ONE,),) * (rank - value.rank) + value.axes
    new = plain([*[1] * (rank - len(sizes)), *sizes])
    shape = tuple(a if size_of(a) == size_of(b) else meet([a, b]) for a, b in zip(old, new, strict=True))
    copies = [at for at in range(rank) if size_of(old[at]) == ONE and size_of(shape[at]) != ONE]
    return moved(node, shape, value, [At(at + rank - value.rank) for at in range(value.rank)], copies)


def flatten(node: Node) -> Value:
    """Join axes so that two remain."""
    value, at = node.input(0), int(node.attribute("axis", 1))
    at = at + value.rank if at < 0 else at
    return _reshaped(node, value, [math.prod(map(size_of, p), start=ONE) for p in (value.axes[:at], value.axes[at:])])


def reshape(node: Node) -> Value:
    """Divide and join axes. The values keep their order in memory."""
    value, wanted = node.input(0), node.input(1).sizes
    if wanted is None:
        raise NotCovered
    if not node.attribute("allowzero", 0):
        wanted = [size_of(value.axes[at]) if size.number == 0 else size for at, size in enumerate(wanted)]
    total = math.prod(map(size_of, value.axes), start=ONE)
    unknown = [at for at, size in enumerate(wanted) if size.number == -1]
    if unknown:
        inferred = quotient(total, math.prod((s for at, s in enumerate(wanted) if at != unknown[0]), start=ONE))
        if inferred is None or len(unknown) > 1:
            raise NotCovered
        wanted[unknown[0]] = inferred
    if math.prod(wanted, start=ONE) != total:
        raise NotCovered
    return _reshaped(node, value, wanted)


_Part = tuple[int, int, Size]
"""A factor of an input's axis: axis, index of the factor, size. The axis is -1 for factors with a fixed size."""


def _reshaped(node: Node, value: Value, sizes: list[Size]) -> Value:
    """Return the record of a reshaped tensor. Raises NotCovered if this would divide or mix rows or steps."""
    parts = [(at, n, size) for at, axis in enumerate(value.axes) for n, size in enumerate(axis) if size != ONE]
    shape: list[Axis] = []
    now: dict[Place, Place] = {}
    for at, size in enumerate(sizes):
        taken = _take(parts, size)
        now |= {(old, n): (at, number) for number, (old, n, _) in enumerate(taken) if old >= 0}
        shape.append(tuple(part[2] for part in taken) or (ONE,))
    if parts:
        raise NotCovered
    tracks = {}
    for key, track in value.tracks.items():
        places = {now.get(p, p): reach for p, reach in track.places.items() if p[0] < 0 or p in now}
        lost = [not_decided(node.title)] if len(places) < len(track.places) else []
        tracks[key] = guarded(node, key, join([track.at(places), *lost]), tuple(shape))

    def place(at: int) -> int | None:
        moved = now.get((at, 0))
        return moved[0] if moved is not None and len(shape[moved[0]]) == 1 else None

    return carried(Value(tuple(shape), tracks), value, place)


def _take(parts: list[_Part], size: Size) -> list[_Part]:
    """Take factors from the front whose product is a size. A fixed size is divided if necessary."""
    taken: list[_Part] = []
    while size != ONE:
        if not parts:
            raise NotCovered
        _, _, factor = parts[0]
        rest = quotient(size, factor)
        if rest is not None:
            part, size = parts.pop(0), rest
        else:
            within = quotient(factor, size)
            if within is None or size.number is None or factor.number is None:
                raise NotCovered
            parts[0], part, size = (-1, 0, within), (-1, 0, size), ONE
        if taken and taken[-1][2].number is not None and part[2].number is not None:
            taken[-1] = (-1, 0, taken[-1][2] * part[2])  # merge fixed factors, so that axes have few
        else:
            taken.append(part)
    return taken


def concat(node: Node) -> Value:
    """Join tensors one after the other along an axis."""
    values = [node.input(at) for at in range(len(node.inputs))]
    rank = values[0].rank
    at = node.axis(rank)
    if any(value.rank != rank for value in values):
        raise NotCovered
    sources: list[Source] = []
    starts = [Size.of(0)]
    for value in values:
        reads, offset = same_axes(value), starts[-1].number
        reads[at] = Over("joins over", surely=False) if offset is None else At(at, Reach(offset=-offset))
        sources.append((value, reads))
        starts.append(starts[-1] + size_of(value.axes[at]))
    axes = [{value.axes[other] for value in values} for other in range(rank)]
    if any(len(found) > 1 for other, found in enumerate(axes) if other != at):
        raise NotCovered
    shape = tuple((starts[-1],) if o == at and len(values) > 1 else found.pop() for o, found in enumerate(axes))
    result = flow(node, shape, sources)
    for boundary in starts[1:-1]:
        result = numbered(node, result, boundary)
    fills = {value.fill for value in values}
    are_columns = at == rank - 1 and all(size_of(value.axes[at]) == ONE for value in values)
    pattern = Columns(tuple(values)) if are_columns else None
    return dataclasses.replace(result, pattern=pattern, fill=fills.pop() if len(fills) == 1 else None)


def split(node: Node) -> list[Value]:
    """Divide an axis of a fixed size."""
    value = node.input(0)
    at, given = node.axis(value.rank), node.optional(1)
    total = size_of(value.axes[at]).number
    sizes = node.attribute("split") if given is None else given.numbers
    if total is None or (sizes is None and given is not None):
        raise NotCovered
    if sizes is None:
        each = -(-total // len(node.results))
        sizes = [min(each, total - each * number) for number in range(len(node.results))]
    results, start = [], 0
    for size in sizes:
        reads = same_axes(value)
        reads[at] = At(at, Reach(offset=start))
        part = moved(node, (*value.axes[:at], (Size.of(size),), *value.axes[at + 1 :]), value, reads)
        cut = (*(slice(None),) * at, slice(start, start + size))
        results.append(part if value.few is None else dataclasses.replace(part, content=value.few[cut]))
        start += size
    return results


def slice_(node: Node) -> Value:
    """Cut axes."""
    value = node.input(0)
    starts, ends, given = _bounds(node, "starts", 1), _bounds(node, "ends", 2), node.optional(4)
    steps = [1] * len(starts) if given is None else given.numbers
    if steps is None or len(starts) != len(ends):
        raise NotCovered
    copies, cut, reads, shape = [], [], same_axes(value), list(value.axes)
    slices: list[slice] = [slice(None)] * value.rank
    axes = node.axes(value.rank, 3) or range(len(starts))
    for at, start, end, step in zip(axes, starts, ends, steps, strict=False):
        whole = size_of(shape[at])
        if step == 1:
            reads[at], size = _cut(at, whole, start, end)
            if whole.number is not None and size.number is None:
                copies.append(at)
            is_by_number = start.number not in (None, 0) or (end.number is not None and end.number < _FAR)
            if size != whole:
                cut += [at] if is_by_number else []
                shape[at] = (size,)
        else:
            reads[at] = Over("reverses" if step < 0 else "leaves out some of", surely=False)
            shape[at] = (_stepped(whole, start, end, step),)
        slices[at] = slice(start.number, _backward(end.number, step), step)
    result = moved(node, tuple(shape), value, reads, copies)
    if value.few is not None and all(bound.number is not None for bound in (*starts, *ends)):
        result = dataclasses.replace(result, content=value.few[tuple(slices)])
    return _by_number(node, result, value, copies, cut)


def _by_number(node: Node, result: Value, value: Value, copies: list[int], cut: list[int]) -> Value:
    """Record that rows get the entries of a table by their number, or that some are cut off by their number."""
    tracks = dict(result.tracks)
    for key, track in result.tracks.items():
        reasons = []
        if key[0] is Property.ROWS and any(key[1] in size_of(result.axes[at]).tainted for at in copies):
            reasons.append(not_decided(node.title, "" if result.fill is not None else COMPUTES))
        is_said = any(reason.node == node.title for reason in track.undecided)
        if is_said and any(at in cut for at, _ in value.track(key).places):
            reasons.append(not_decided(node.title, CUTS))
        tracks[key] = join([track, *reasons])
    return dataclasses.replace(result, tracks=tracks)


def _bounds(node: Node, name: str, at: int) -> list[Size]:
    sizes = node.input(at).sizes if name not in node.attributes else [Size.of(n) for n in node.attributes[name]]
    if sizes is None:
        raise NotCovered
    return sizes


def _backward(end: int | None, step: int) -> int | None:
    """Return the end of a slice. onnxruntime slices backward to the first index if the end is this large."""
    return None if end is not None and end >= _FAR and step < 0 else end


def _cut(at: int, size: Size, start: Size, end: Size) -> tuple[Read, Size]:
    """Return how a slice reads an axis, and the size of the slice."""
    stop = _stop(size, end)
    first = start.number
    if first is not None and first < 0:
        first = None if size.number is None else max(size.number + first, 0)
        if first is None and size == stop and start.number is not None and (size + start).at_least(0):
            return Last("reads the last of"), -start  # a sequence, perhaps with a window, is always that long
    if first is None:
        return Over("reads some of", surely=False), computed("slice", size, start, end, lowest=0)
    first = first if size.number is None else min(first, size.number)
    return At(at, Reach(offset=first)), maximum(stop - first, Size.of(0))


def _stop(size: Size, end: Size) -> Size:
    number = end.number
    if number is None and size.number is not None and size.number > 1:
        return end  # a table with an entry for each step: if it is too short, adding it to the steps raises an error
    if number is None:  # lengths never exceed the number of steps of their axis
        return end if str(end) == f"longest of {size}" else minimum(size, end)
    if number >= _FAR:
        return size
    return maximum(size + number, Size.of(0)) if number < 0 else minimum(size, end)


def _stepped(size: Size, start: Size, end: Size, step: int) -> Size:
    first, last = start.number, end.number
    if size.number is not None and first is not None and last is not None:
        return Size.of(len(range(*slice(first, _backward(last, step), step).indices(size.number))))
    if step == -1 and first is not None and last is not None and (first == -1 or first >= _FAR) and last <= -_FAR:
        return size  # the whole axis, reversed
    return computed(f"slice by {step}", size, start, end, lowest=0)


def pad(node: Node) -> Value:
    """Add values at both ends of axes."""
    value, pads, fill = node.input(0), _bounds(node, "pads", 1), node.optional(2)
    axes = node.axes(value.rank, 3) or list(range(value.rank))
    number = float(node.attribute("value", 0.0)) if fill is None else fill.fill
    is_constant = node.attribute("mode", "constant") == "constant"
    if len(pads) != 2 * len(axes) or (is_constant and number is None):
        raise NotCovered
    reads, shape, boundaries = same_axes(value), list(value.axes), []
    for at, before, behind in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        if before.number == 0 and behind.number == 0:
            continue
        if behind.number != 0:
            boundaries.append(size_of(shape[at]) + before)
        shape[at] = (size_of(shape[at]) + before + behind,)
        is_shifted = is_constant and before.number is not None
        reads[at] = At(at, Reach(offset=-(before.number or 0))) if is_shifted else Over("pads over", surely=False)
    result = moved(node, tuple(shape), value, reads)
    for boundary in boundaries:
        result = numbered(node, result, boundary)
    return dataclasses.replace(result, pattern=None, fill=number if value.fill == number else None, range=None)


def gather(node: Node) -> Value:
    """Read one axis at indices."""
    data, indices = node.input(0), node.input(1)
    at, numbers = node.axis(data.rank), indices.numbers
    shape: Shape = (*data.axes[:at], *indices.axes, *data.axes[at + 1 :])
    reads: list[Read] = [At(other if other < at else other + indices.rank - 1) for other in range(data.rank)]
    is_one = numbers is not None and len(numbers) == 1 and indices.rank <= 1
    reads[at] = _one(data, at, numbers[0]) if numbers is not None and is_one else Over(_COMPUTED, surely=False)
    if node.is_free([indices]):
        return moved(node, shape, data, reads)
    return flow(node, shape, [(data, reads), (indices, [At(at + other) for other in range(indices.rank)])])


def _one(data: Value, at: int, index: int) -> Read:
    """Read one index of an axis: every row has the first one, and the last one comes after all others."""
    if size_of(data.axes[at]).number is None and index in (0, -1):
        return First() if index == 0 else Last("reads the last of")
    return Over("reads one of", surely=False)


def gather_elements(node: Node) -> Value:
    """Read one axis at an index for each value."""
    data, indices = node.input(0), node.input(1)
    at, some = node.axis(data.rank), Over("reads some of", surely=False)
    reads: list[Read] = [At(o) if indices.axes[o] == data.axes[o] else some for o in range(data.rank)]
    reads[at] = _computed(data, at, indices)
    return flow(node, indices.axes, [(data, reads), (indices, same_axes(indices))])


def _computed(data: Value, at: int, indices: Value) -> Read:
    """Read an axis at computed indices, and recognize the index of each row's last step."""
    pattern = indices.pattern
    if isinstance(pattern, Ends) and pattern.offset == -1 and along(data, pattern.axis) == at:
        return Last("reads one of", neutral=[pattern.axis])
    return Over(_COMPUTED, surely=False)


def gather_nd(node: Node) -> Value:
    """Read several axes at indices."""
    data, indices = node.input(0), node.input(1)
    columns, front = [indices], indices.rank - 1
    if isinstance(indices.pattern, Columns):
        columns = list(indices.pattern.parts)
    elif size_of(indices.axes[-1]) != ONE:
        raise NotCovered
    if node.attribute("batch_dims", 0) or len(columns) > data.rank:
        raise NotCovered
    reads = [_indexed(data, at, column, front) for at, column in enumerate(columns)]
    reads += [At(front + at) for at in range(data.rank - len(columns))]
    sources: list[Source] = [(data, reads)]
    for at, column in enumerate(columns):
        if not isinstance(reads[at], At):  # otherwise the column only makes each row read itself
            sources.append((column, [*(At(other) for other in range(front)), Over("indexes over", surely=False)]))
    return flow(node, (*indices.axes[:-1], *data.axes[len(columns) :]), sources)


def _indexed(data: Value, at: int, column: Value, front: int) -> Read:
    pattern, numbers = column.pattern, column.numbers
    if isinstance(pattern, Steps) and pattern.offset == 0 and 0 <= pattern.place < front:
        if column.axes[pattern.place] == data.axes[at]:
            return At(pattern.place)
    elif numbers is not None and len(set(numbers)) == 1:
        return _one(data, at, numbers[0])
    return _computed(data, at, column)


def one_hot(node: Node) -> Value:
    """Write a number at each index of a new axis."""
    indices, depth, values = node.input(0), node.input(1), node.input(2)
    if depth.sizes is None or not node.is_free([values]):
        raise NotCovered
    at = node.axis(indices.rank + 1, -1)
    shape = (*indices.axes[:at], *plain([depth.sizes[0]]), *indices.axes[at:])
    return flow(node, shape, [(indices, [At(o if o < at else o + 1) for o in range(indices.rank)])])


def shape(node: Node) -> Value:
    """Read sizes, or their product. The values depend on the same axes as the sizes."""
    sizes = [size_of(axis) for axis in node.input(0).axes]
    if node.operator == "Size":
        sizes = [math.prod(sizes, start=ONE)]
    else:
        sizes = sizes[node.attribute("start", 0) : node.attribute("end", len(sizes))]
    tracks = {}
    for kind, axis in node.keys:
        if any((axis in size.made_of and kind is Property.ROWS) or size.tainted == {axis} for size in sizes):
            said = f"{COUNTS} rows" if axis == BATCH else f'{COUNTS} steps of "{axis}"'
            tracks[kind, axis] = Track(mixing=(Reason(node.title, said),))
        elif any(axis in size.tainted for size in sizes):
            tracks[kind, axis] = not_decided(node.title, "reads a size")
    if node.operator == "Size":
        return Value((), tracks, content=symbolic(sizes).reshape([]))
    return Value(plain([len(sizes)]), tracks, content=symbolic(sizes))


def constant_node(node: Node) -> Value:
    """Return a constant."""
    name = next(iter(node.attributes))
    if name not in ("value", "value_int", "value_ints", "value_float", "value_floats"):
        raise NotCovered
    array: Any = np.asarray(node.attributes[name])
    return constant(array if name == "value" else array.astype({"i": np.int64, "f": np.float32}[array.dtype.kind]))


def constant_of_shape(node: Node) -> Value:
    """Repeat one number."""
    sizes = node.input(0).sizes
    if sizes is None:
        raise NotCovered
    fill = np.asarray(node.attribute("value", np.zeros(1, np.float32))).ravel()[:1]
    result = dataclasses.replace(created(node, plain(sizes)), fill=constant(fill).fill)
    numbers = result.size_numbers
    return result if numbers is None else dataclasses.replace(result, content=np.full(numbers, fill[0]))


def range_(node: Node) -> Value:
    """Number rows or the steps of an axis, starting at a constant."""
    start, limit, delta = (node.input(at) for at in range(3))
    if start.fill is None or delta.fill != 1 or limit.sizes is None or not start.fill.is_integer():
        raise NotCovered
    first = int(start.fill)
    size = limit.sizes[0] - first
    if not size.at_least(0):
        raise NotCovered
    result = created(node, plain([size]))
    tracks = {
        # The numbers may serve to put sorted rows back in place, so leave the decision to the nodes that read them.
        key: not_decided(node.title, NUMBERS) if key[0] is Property.ROWS and track.places else track
        for key, track in result.tracks.items()
    }
    numbers = Value(result.shape, tracks, pattern=Steps(0, first))
    count = numbers.size_numbers
    return numbers if count is None else dataclasses.replace(numbers, content=np.arange(first, first + count[0]))
