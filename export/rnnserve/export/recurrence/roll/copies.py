"""Explaining equal copies of some items by one of them: the body of a scan.

What a copy refers to is one of: an item from outside, the same for all copies; an item of the same copy; what an item
was some copies before, carried; or the results of an earlier scan, in order. Its numbers are progressions.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from rnnserve.export.recurrence.roll.items import SCAN, STACKED, Item, is_tensor
from rnnserve.export.recurrence.roll.progressions import Progression, progression

__all__ = ["Body", "Carry", "Operation", "Source", "explained", "origin_of", "segment", "stacked_of"]

_MOST_LAGS = 4  # copies that a value is carried over, and one


class Source(NamedTuple):
    """What an operation of a body refers to.

    Attributes:
        kind: "outside", "inside" (the same step), "carried" or "sequence".
        at: Number of a reference of the scan; of the operation; of the carry.
        before: Of a sequence, the references of the scan for the first steps.
        number: Of a sequence, the number of the scan that is the first step to read; the next is the distance.
    """

    kind: str
    at: int
    before: tuple[int, ...] = ()
    number: int = -1


class Operation(NamedTuple):
    """One item of a body, with its references and numbers explained."""

    target: Any
    form: Any
    sources: tuple[Source, ...]
    numbers: tuple[Progression, ...]
    shape: Any


class Carry(NamedTuple):
    """What an operation gives, carried to a later step.

    Attributes:
        operation: Number of the operation.
        lag: Number of steps.
        first: References of the scan for the first steps, as many as the lag, the earliest first.
    """

    operation: int
    lag: int
    first: tuple[int, ...]


class Body(NamedTuple):
    """The form of a scan."""

    carries: tuple[Carry, ...]
    operations: tuple[Operation, ...]

    def without_shapes(self) -> "Body":
        """Give the body without the shapes, which depend on the lengths of a capture."""
        operations = (
            each._replace(shape=None, form=each.form.without_shapes() if isinstance(each.form, Body) else each.form)
            for each in self.operations
        )
        return Body(self.carries, tuple(operations))


def explained(
    items: Sequence[Item], at: int, size: int, count: int, tail: Mapping[int, Item] | None = None
) -> Item | None:
    """Explain `count` copies of `size` items that begin at a place; None if they can't be explained.

    Args:
        items: Items of a program, with their positions.
        at: Where the first copy begins.
        size: Number of items in a copy.
        count: Number of copies.
        tail: Some of the items of one more copy, by their place in it; the others were dead code.
    """
    tail = tail or {}
    scan = _Explanation(items, at, size, count, tail).scan()
    end = at + size * count + len(tail)
    pairs = {id(each) for each in items[at:end] if not is_tensor(each.shape) and each.shape != "SymInt"} if scan else ()
    if pairs and any(id(each) in pairs for item in items[end:] for each in item.references):
        return None  # several results, which are no output of a scan
    return scan


class _Explanation:
    """Explains copies."""

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
        return Item(SCAN, form, self.references, self.numbers, shape, meta)

    def _place(self, item: Item) -> tuple[int, int] | None:
        """Which step of the copies an item is in, and at which place; None if it is in none."""
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
        if of[0].target == SCAN and moves[0]:  # of another number of steps in each step
            return None
        is_whole = len(of) == self.count + bool(self.tail)
        if not is_whole and (any(moves) or any(each.kind == "sequence" for each in sources if each is not None)):
            return None  # the copy that is not there might read what isn't there either
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
        """The operation's result `lag` steps before."""
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
        """Results of an earlier scan, perhaps after some other items."""
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


@dataclasses.dataclass(frozen=True)
class _Origin:
    """Which output of a scan an item is, and of which step."""

    output: tuple[int, int]
    step: int


def origin_of(item: Item) -> _Origin | None:
    """Which output of a scan an item is; None if it is none."""
    if item.home is not None:
        return _Origin((id(item.home.scan), item.home.place), item.home.step)
    if item.target is torch.ops.aten.select.int and item.references[0].target == STACKED and item.numbers[0] == 0:
        return _Origin((id(item.references[0]), -1), item.numbers[1])
    return None


def segment(items: Sequence[Item]) -> tuple[int, int, int]:
    """First step, distance, and number of the items that begin a list and are one output of a scan."""
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
    """Give all steps of the output of a scan that an item is one of."""
    if item.home is None:
        return item.references[0]
    scan, _, place = item.home
    return scan.outputs.setdefault(
        place, Item(STACKED, (place,), [scan], shape=(str(scan.numbers[0]), *scan.shape[place]), meta=scan.meta)
    )
