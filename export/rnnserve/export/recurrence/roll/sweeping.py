"""Rolling operations that an unrolled program repeats for each step, inner loops first, until nothing repeats.

Equal copies of some items are replaced by the body of a scan, which explains all of them. Each reference of a copy must
be an item from outside that all copies share, an item of the same copy, the value of an item some copies earlier (a
carried value), or the next result of an earlier scan. Its numbers must be progressions.
"""

import bisect
import collections
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from rnnserve.export.recurrence.roll.items import (
    FINAL,
    GIVEN,
    OUTPUT,
    SCAN,
    STACKED,
    Form,
    Home,
    Item,
    Progression,
    is_tensor,
    progression,
)

__all__ = ["JOINING", "REPEATED", "SEGMENT", "Body", "Operation", "Source", "rolled"]

_MOST_LAGS = 4  # a value can be carried over fewer copies than this


class Source(NamedTuple):
    """A reference of an operation in a body."""

    kind: str  # "outside", "inside" (the same step), "carried" or "sequence"
    at: int  # number of the scan's reference, of the operation, or of the carry
    before: tuple[int, ...] = ()  # for a sequence, the scan's references for the first steps
    number: int = -1  # for a sequence, the index in the scan's numbers of the first step to read; the distance follows


class Operation(NamedTuple):
    """An item of a body, with its references and numbers explained."""

    target: Any
    form: Any
    sources: tuple[Source, ...]
    numbers: tuple[Progression, ...]
    shape: Any


class Carry(NamedTuple):
    """The result of an operation, carried to a later step."""

    operation: int  # number of the operation
    lag: int  # number of steps
    first: tuple[int, ...]  # the scan's references for the first steps, one for each step of the lag, earliest first


class Body(NamedTuple):
    """The form of a scan."""

    carries: tuple[Carry, ...]
    operations: tuple[Operation, ...]

    def without_shapes(self) -> "Body":
        """Return the body without shapes, which depend on the lengths of a capture."""
        operations = (
            each._replace(shape=None, form=each.form.without_shapes() if isinstance(each.form, Body) else each.form)
            for each in self.operations
        )
        return Body(self.carries, tuple(operations))


def explained(
    items: Sequence[Item], at: int, size: int, count: int, tail: Mapping[int, Item] | None = None
) -> Item | None:
    """Explain `count` copies of `size` items from `at` on as a scan, or return None if this is impossible."""
    tail = tail or {}
    scan = _Explanation(items, at, size, count, tail).scan()
    end = at + size * count + len(tail)
    pairs = {id(each) for each in items[at:end] if not is_tensor(each.shape) and each.shape != "SymInt"} if scan else ()
    if pairs and any(id(each) in pairs for item in items[end:] for each in item.references):
        return None  # an item with several results can't be an output of a scan
    return scan


class _Explanation:
    """Explains copies as a scan."""

    def __init__(self, items: Sequence[Item], at: int, size: int, count: int, tail: Mapping[int, Item]) -> None:
        self.items, self.at, self.size, self.count, self.tail = items, at, size, count, tail
        self.end = at + size * count
        self.in_tail = {id(item): (count, place) for place, item in tail.items()}
        self.references: list[Item] = []
        self.numbers: list[Any] = [count + bool(tail)]
        self.outside: dict[int, int] = {}
        self.carries: dict[Any, Carry] = {}

    def scan(self) -> Item | None:
        operations = []
        for place in range(self.size):
            of = list(self.items[self.at + place : self.end : self.size])
            operation = self._operation([*of, self.tail[place]] if place in self.tail else of)
            if operation is None:
                return None
            operations.append(operation)
        first = self.items[self.at : self.at + self.size]
        shape = tuple(each.shape for each in first)
        form = Body(tuple(self.carries.values()), tuple(operations))
        meta = next((each.meta for each in first if each.meta), first[0].meta)
        digits = max(each.digits for each in first)
        return Item(SCAN, form, self.references, self.numbers, shape, meta, digits)

    def _place(self, item: Item) -> tuple[int, int] | None:
        """Return the step and the place of an item in the copies, or None if it is in no copy."""
        if self.at <= item.position < self.end:
            return divmod(item.position - self.at, self.size)
        return self.in_tail.get(id(item))

    def _operation(self, of: list[Item]) -> Operation | None:
        sources = [self._source(list(seen)) for seen in zip(*(each.references for each in of), strict=True)]
        if None in sources:
            return None
        digits = of[0].digits
        numbers = [self._progression(list(seen), digits) for seen in zip(*(each.numbers for each in of), strict=True)]
        if None in numbers:
            return None
        moves = [self._moves(each) for each in numbers if each is not None]
        if of[0].target == SCAN and moves[0]:  # the number of steps differs from step to step
            return None
        is_whole = len(of) == self.count + bool(self.tail)
        has_moved = any(moves) and not _has_next(of)
        if not is_whole and (has_moved or any(each.kind == "sequence" for each in sources if each is not None)):
            return None  # the missing copy might read something that doesn't exist either
        first = of[0]
        return Operation(first.target, first.form, tuple(sources), tuple(numbers), first.shape)  # type: ignore[arg-type]

    def _add(self, item: Item) -> int:
        self.references.append(item)
        return len(self.references) - 1

    def _source(self, seen: list[Item]) -> Source | None:
        if all(each is seen[0] for each in seen) and self._place(seen[0]) is None:
            if id(seen[0]) not in self.outside:
                self.outside[id(seen[0])] = self._add(seen[0])
            return Source("outside", self.outside[id(seen[0])])
        places = [self._place(each) for each in seen]
        for lag in range(min(_MOST_LAGS, self.count - 1)):
            place = places[lag]
            if place is not None and place[0] == 0 and not any(places[:lag]):
                return self._earlier(seen, places, lag, place[1])
        return None if any(places) else self._sequence(seen)

    def _earlier(
        self, seen: list[Item], places: list[tuple[int, int] | None], lag: int, operation: int
    ) -> Source | None:
        """Return the source for the operation's result `lag` steps earlier."""
        if any(each != (step, operation) for step, each in enumerate(places[lag:])):
            return None
        if lag == 0:
            return Source("inside", operation)
        shape = self.items[self.at + operation].shape
        if not is_tensor(shape) or any(each.shape != shape for each in seen[:lag]):
            return None
        key = (operation, *(id(each) for each in seen[:lag]))
        if key not in self.carries:
            self.carries[key] = Carry(operation, lag, tuple(self._add(each) for each in seen[:lag]))
        return Source("carried", list(self.carries).index(key))

    def _sequence(self, seen: list[Item]) -> Source | None:
        """Return the source for results of an earlier scan, perhaps after some other items."""
        for lag in range(min(_MOST_LAGS, self.count - 2)):
            first, distance, length = segment(seen[lag:])
            if length < len(seen) - lag:
                continue
            if not is_tensor(seen[lag].shape) or any(each.shape != seen[lag].shape for each in seen[:lag]):
                continue
            before = tuple(self._add(each) for each in seen[:lag])
            self.numbers.extend((first, distance))
            return Source("sequence", self._add(stacked_of(seen[lag])), before, len(self.numbers) - 2)
        return None

    def _progression(self, seen: list[Any], digits: float) -> Progression | None:
        found = progression(seen, digits)
        if found is None:
            return None
        self.numbers.extend(found.values)
        slots = range(len(self.numbers) - len(found.values), len(self.numbers))
        return found._replace(values=tuple(slots))

    def _moves(self, number: Progression) -> bool:
        values = tuple(self.numbers[slot] for slot in number.values)
        return not number._replace(values=values).is_constant


def _has_next(reads: Sequence[Item]) -> bool:
    """Whether items read steps of a tensor that has another step, which the missing copy can read."""
    if reads[0].target is not torch.ops.aten.select.int:
        return False
    (axis, before), (_, last) = (each.numbers for each in reads[-2:])
    sizes: Any = reads[-1].references[0].shape  # of a tensor: its sizes, as text, and its dtype
    return bool(0 <= 2 * last - before < int(sizes[:-1][axis]))


@dataclasses.dataclass(frozen=True)
class _Origin:
    """The output of a scan that an item equals, and the step."""

    output: tuple[int, int]
    step: int


def origin_of(item: Item) -> _Origin | None:
    """Return the scan's output that an item equals, or None if it equals no output."""
    if item.home is not None:
        return _Origin((id(item.home.scan), item.home.place), item.home.step)
    if item.target is torch.ops.aten.select.int and item.references[0].target == STACKED and item.numbers[0] == 0:
        return _Origin((id(item.references[0]), -1), item.numbers[1])
    return None


def segment(items: Sequence[Item]) -> tuple[int, int, int]:
    """Return first step, distance and number of the leading items that are steps of the same output of a scan."""
    origins = [origin_of(items[0]), origin_of(items[1])] if len(items) > 1 else [None]
    first, second = origins[0], origins[-1]
    if first is None or second is None or second.step == first.step:
        return 0, 0, 1
    distance = second.step - first.step
    length = 0
    for item in items:
        if origin_of(item) != _Origin(first.output, first.step + length * distance):
            break
        length += 1
    return first.step, distance, length


def stacked_of(item: Item) -> Item:
    """Return the item with all steps of a scan's output, for an item that is a step of it."""
    if item.home is None:
        return item.references[0]
    scan, _, place = item.home
    return scan.outputs.setdefault(
        place, Item(STACKED, (place,), [scan], shape=(str(scan.numbers[0]), *scan.shape[place]), meta=scan.meta)
    )


JOINING = (torch.ops.aten.cat.default, torch.ops.aten.stack.default)
SEGMENT: Form = ("segment",)
"""Part of `cat` or `stack`: steps of a scan's output, with three numbers (first, distance, count)."""
REPEATED: Form = ("repeated",)
"""Part of `cat` or `stack`: a value that is repeated, with the number of repetitions."""

_READS = (torch.ops.aten.select.int, torch.ops.aten.slice.Tensor)

_MOST_SWEEPS = 6  # levels of nested loops
_SHORTEST_SEGMENT = 4
_TELLING = 6  # number of copies to explain first, before all copies
_MOST_SIZES = 24  # sizes of copies to try at a place: thousands of similar operations would take minutes


class _Found(NamedTuple):
    """Copies that were found."""

    scan: Item  # the scan that replaces the copies
    size: int  # number of items in a copy
    copies: int  # number of complete copies
    tail: dict[int, Item]  # items of an incomplete last copy, by their place in it


def rolled(items: list[Item], steps: int) -> list[Item]:
    """Replace operations that repeat for each step with scans."""
    items = _with_early_reads(items, steps // 2)
    keys: dict[Any, int] = {}
    for least in (steps - 2, steps // 2):  # loops over all steps but two, then loops over every second step
        for _ in range(_MOST_SWEEPS):
            swept = _swept(items, least, keys)
            if swept is None:
                break
            items = swept
    return _without_dead(items)


def _with_early_reads(items: list[Item], least: int) -> list[Item]:
    """Move reads of parts of a tensor to directly after the tensor, unless there are at least `least` of them.

    A first step reads the layers of an initial state, `h[layer]`. Later steps use the values of the step before,
    because a read of `torch.stack` is replaced with the part that it reads. Once the reads are moved, all steps are
    alike.
    """
    counts = collections.Counter(id(item.references[0]) for item in items if item.target in _READS)
    early: dict[int, list[Item]] = {}
    for item in items:
        if item.target in _READS and len(item.references) == 1 and counts[id(item.references[0])] < least:
            early.setdefault(id(item.references[0]), []).append(item)
    moved = {id(item) for reads in early.values() for item in reads}
    ordered: list[Item] = []
    waiting = [item for item in reversed(items) if id(item) not in moved]
    while waiting:
        ordered.append(waiting.pop())
        waiting.extend(reversed(early.get(id(ordered[-1]), ())))
    return ordered


def _without_dead(items: list[Item]) -> list[Item]:
    used: set[int] = set()
    kept = []
    for item in reversed(items):
        if id(item) in used or item.target in (OUTPUT, *GIVEN):
            kept.append(item)
            used.update(id(each) for each in item.references)
    return kept[::-1]


def _swept(items: list[Item], least: int, keys: dict[Any, int]) -> list[Item] | None:
    """Roll everything that repeats at least `least` times, or return None if nothing does."""
    for position, item in enumerate(items):
        item.home, item.position = None, position
        item.set_key(keys)
        _join_segments(item, keys)
    out: list[Item] = []
    at = 0
    alike = _Alike(items)
    while at < len(items):
        found = _found(alike, at, least, len(items))
        if found is None:
            out.append(items[at])
            at += 1
            continue
        scan, size, count, tail = found
        scan.set_key(keys)
        scan.before = items[max(0, at - 2 * size) : at]
        for number in range(size * count):
            items[at + number].home = Home(scan, *divmod(number, size))
        for place, item in tail.items():
            item.home = Home(scan, count, place)
        out.append(scan)
        at += size * count + len(tail)
        for item in items[at:]:
            _join_segments(item, keys)
        alike = _Alike(items)
    return _with_reads(out) if len(out) < len(items) else None


class _Alike:
    """Finds items with equal keys.

    Attributes:
        items: Items of a program.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self._keys = [item.key for item in items]
        self._places: dict[int, list[int]] = {}
        for place, key in enumerate(self._keys):
            self._places.setdefault(key, []).append(place)
        self._runs: dict[int, tuple[int, int]] = {}

    def sizes(self, at: int, least: int, until: int) -> Iterator[int]:
        """Yield the sizes of possible copies that begin at a place: their first items have equal keys."""
        keys, key = self._keys, self._keys[at]
        places = self._places[key]
        for place in places[bisect.bisect_right(places, at) :]:
            size = place - at
            if size > (until - at) // least:
                return
            if all(keys[at + size * copy] == key for copy in range(2, least)):
                yield size

    def length(self, at: int, size: int, until: int) -> int:
        """Count the items from a place on that have the same keys as the items `size` places later."""
        keys = self._keys
        first, end = self._runs.get(size, (0, -1))
        if not first <= at <= end:
            end = at
            while end + size < len(keys) and keys[end] == keys[end + size]:
                end += 1
            self._runs[size] = at, end
        return min(end, until - size) - at


def _found(alike: _Alike, at: int, least: int, until: int) -> _Found | None:
    """Return the smallest copies that begin at a place, or None if a loop within a copy begins later."""
    found = _beginning(alike, at, least, until)
    if found is None or any(
        _beginning(alike, later, least, at + found.size) for later in range(at + 1, at + found.size - least + 1)
    ):
        return None
    return _chosen(alike.items, until, found, at)


def _beginning(alike: _Alike, at: int, least: int, until: int) -> _Found | None:
    """Return the smallest copies that begin at a place and end before `until`."""
    items = alike.items
    if items[at].target in (OUTPUT, *GIVEN):
        return None
    for size in itertools.islice(alike.sizes(at, least, until), _MOST_SIZES):
        if size == 1 and origin_of(items[at]):
            continue  # reads of a scan's output
        most = alike.length(at, size, until) // size + 1
        if most > _TELLING and not explained(items, at, size, _TELLING):
            continue  # most false candidates already fail here
        for count in range(most, max(least, most - 2) - 1, -1):
            scan = explained(items, at, size, count)
            if scan is not None:
                return _Found(scan, size, count, {})
    return None


def _chosen(items: Sequence[Item], until: int, found: _Found, at: int) -> _Found | None:
    """Add an incomplete last copy, or return None if as many copies begin later.

    Copies that begin later leave less of the last step after the loop. Then only the first step is separate, and every
    loop has a first step.
    """
    _, size, count, _ = found
    tail = _tail(items, at, size, count)
    if tail and (whole := explained(items, at, size, count, tail)):
        return found._replace(scan=whole, tail=tail)
    for later in range(at + 1, min(at + size, until - size * count + 1)):
        same = all(items[n].key == items[n + size].key for n in range(later, later + size * (count - 1)))
        if same and explained(items, later, size, count):
            return None
    return found


def _tail(items: Sequence[Item], at: int, size: int, count: int) -> dict[int, Item]:
    """Return the items of an incomplete next copy. Its other items were dead code."""
    tail: dict[int, Item] = {}
    after = at + size * count
    for place in range(size):
        if after + len(tail) < len(items) and items[after + len(tail)].key == items[at + place].key:
            tail[place] = items[after + len(tail)]
    return tail


def _join_segments(item: Item, keys: dict[Any, int]) -> None:
    """Replace parts of `cat` and `stack` with segments: steps of a scan's output in order, or a repeated part.

    Otherwise a list with as many parts as steps would be a different operation at each length.
    """
    if item.target not in JOINING or len(item.references) < _SHORTEST_SEGMENT:
        return
    references, numbers = iter(item.references), iter(item.numbers)
    new_references: list[Item] = []
    new_numbers: list[Any] = []

    def parts_of(parts: list[Item]) -> Iterator[Form]:
        at = 0
        while at < len(parts):
            first, distance, length = segment(parts[at:])
            equal = _number_of(parts[at], parts[at:])
            if equal >= _SHORTEST_SEGMENT:
                new_references.append(parts[at])
                new_numbers.append(equal)
                yield REPEATED
                at += equal
            elif length >= _SHORTEST_SEGMENT:
                new_references.append(stacked_of(parts[at]))
                new_numbers.extend((first, distance, length))
                yield SEGMENT
                at += length
            else:
                new_references.append(parts[at])
                yield ("reference",)
                at += 1

    kind, given, options = item.form
    _, parts, *rest = given
    new_parts: list[Form] = []
    waiting: list[Item] = []
    for part in parts[1:]:
        if part == ("reference",):
            waiting.append(next(references))
            continue
        new_parts.extend(parts_of(waiting))
        waiting = []
        new_parts.append(part)
        new_references.append(next(references))
        new_numbers.extend(itertools.islice(numbers, 3 if part == SEGMENT else 1))
    new_parts.extend(parts_of(waiting))
    form = (kind, ("list", ("list", *new_parts), *rest), options)
    if form != item.form:
        item.form, item.references, item.numbers = form, new_references, [*new_numbers, *numbers]
        item.set_key(keys)


def _number_of(item: Item, items: Sequence[Item]) -> int:
    """Count how often a list begins with an item."""
    return next((number for number, each in enumerate(items) if each is not item), len(items))


def _with_reads(items: list[Item]) -> list[Item]:
    """Redirect references to items of copies to results of their scan, which are inserted after the scan."""
    for item in items:
        item.references = [_read(each) if each.home else each for each in item.references]
    used = {id(each) for item in items for each in item.references}
    used |= {id(each) for item in items for read in item.reads.values() for each in read.references}
    out = []
    for item in items:
        out.append(item)
        if item.target == SCAN:
            out.extend(each for _, each in sorted(item.outputs.items()) if id(each) in used)
            out.extend(each for _, each in sorted(item.reads.items()))
            item.outputs, item.reads, item.before = {}, {}, []
    return out


def _read(item: Item) -> Item:
    """Return the item that reads a copy's item from its scan."""
    assert item.home is not None  # noqa: S101 - by its use
    scan, step, place = item.home
    left = scan.numbers[0] - 1 - step
    for number, carry in enumerate(scan.form.carries):  # type: ignore[attr-defined]
        if carry.operation == place and left < carry.lag:
            final = Item(FINAL, (number, left), [scan], shape=item.shape, meta=item.meta)
            return scan.reads.setdefault((0, number, left), final)
    # The value of the last step. Without steps, it is the value before the loop, which a separate step computes.
    before = next((each for each in reversed(scan.before) if each.key == item.key and each.home is None), None)
    if left == 0 and before is not None and is_tensor(item.shape):
        scan.references.append(before)
        carries, operations = scan.form
        scan.form = Body((*carries, Carry(place, 1, (len(scan.references) - 1,))), operations)
        return _read(item)
    form = ("list", ("list", ("reference",), ("number", "int"), ("number", "int")), ("dict",))
    stacked = scan.outputs.get(place) or stacked_of(item)
    read = Item(torch.ops.aten.select.int, form, [stacked], [0, step], item.shape, item.meta)
    # Reads in the first half are sorted by step, and later reads by distance from the end, so that their order is the
    # same at all lengths.
    return scan.reads.setdefault((1, place, step) if step <= left else (2, place, -left), read)
