"""The requests that wait for a model: how many may wait, which are next, and which of them share the next batch."""

import dataclasses
import itertools
import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from rnnserve.server.batching import MAX_REQUESTS
from rnnserve.server.batching.planning import Cost, similar_to_first
from rnnserve.server.clock import now
from rnnserve.server.errors import QueueFull, ServeError, WaitTooLong

__all__ = ["QueueLimits", "WaitingQueue"]

_SHARE, _LEAST_SHARE = 4, 16
"""One connection may have a quarter of a queue, or 16 requests where that is more. Beyond it: RESOURCE_EXHAUSTED at
once, so that one client with many requests leaves room for the others."""


class _Item(Protocol):
    """What the queue reads of a pending request."""

    @property
    def rows(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def connection(self) -> str: ...
    @property
    def deadline(self) -> float: ...


T = TypeVar("T", bound=_Item)


@dataclasses.dataclass(frozen=True)
class QueueLimits:
    """Limits of the queue of one model: a number alone let heavy requests wait for 23 s behind each other."""

    requests: int
    seconds: float  # that the runs of all waiting requests may take

    @property
    def of_connection(self) -> int:
        """How many requests of one connection may wait."""
        return max(self.requests // _SHARE, min(self.requests, _LEAST_SHARE))


class WaitingQueue(Generic[T]):
    """First come, first served. For one thread at a time."""

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._share = limits.of_connection
        self._items: deque[T] = deque()
        self._counts: Counter[str] | None = None  # by connection, while one may have more than its share
        self.points = 0  # rows * steps of all waiting requests

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def has_room_for(self, count: int) -> bool:
        """Whether so many more requests keep all limits on numbers, whatever their connections."""
        return len(self._items) + count <= self._share

    def add(self, item: T) -> None:
        """Add a request that `refusal` lets wait."""
        self._items.append(item)
        self.points += item.rows * item.steps
        if self._counts is not None:
            self._counts[item.connection] += 1

    def extend(self, items: list[T], points: int) -> None:
        """Add requests for which there is room, and which have `points` rows * steps together."""
        self._items.extend(items)
        self.points += points

    def refusal(self, model: str, cost: Cost, item: T) -> ServeError | None:
        """Return why a request may not wait, or None if it may. An empty queue takes any request."""
        count = len(self._items)
        if not count:
            return None
        if count >= self._limits.requests:
            return QueueFull(model, self._limits.requests)
        if count >= self._share:
            if self._counts is None:
                self._counts = Counter([waiting.connection for waiting in self._items])
            if self._counts[item.connection] >= self._share:
                return QueueFull(model, self._share, is_of_connection=True)
        seconds = cost.seconds_of_queue(self.points)
        if seconds > self._limits.seconds:
            return WaitTooLong.beyond_limit(model, seconds, self._limits.seconds)
        remaining = item.deadline - now()
        if 0 <= remaining < seconds:  # a late request may wait: its run drops and counts it
            return WaitTooLong.beyond_deadline(model, seconds, remaining)
        return None

    def take_rows(self, most: int) -> list[T]:
        """Take the next requests, until they have so many rows; the last one may have more."""
        taken: list[T] = []
        rows = 0
        while rows < most and self._items:
            item = self._items.popleft()
            taken.append(item)
            rows += item.rows
        self._count_taken(taken)
        return taken

    def take(self, cost: Cost, most_points: float = math.inf, *, is_padded: bool = True) -> list[T]:
        """Take the next batch: half of the waiting requests, or more until a run of them is worth making.

        A batch of all waiting requests would keep the first of them waiting for the last. And if clients send again as
        soon as they are answered, all of them would wait for the server, and then the server for all of them.

        If more requests wait than a run needs, the batch holds those that best share a run with the request that has
        waited longest, so that their lengths are similar; of one length unless `is_padded`. The request that has waited
        longest is always in the batch. A batch is complete with `most_points` rows * steps.
        """
        waiting = self._items
        if len(waiting) <= MAX_REQUESTS and self.points <= min(cost.enough(1), most_points):
            taken = list(waiting)  # for more steps, `enough` is more
            waiting.clear()
            self._counts, self.points = None, 0
            return taken
        half = (len(waiting) + 1) // 2
        items = list(itertools.islice(waiting, MAX_REQUESTS))
        lengths = [item.steps for item in items]
        if not is_padded:
            taken = _first_of([item for item in items if item.steps == items[0].steps], cost, most_points, half)
        elif min(lengths) < (longest := max(lengths)) and self.points > cost.enough(longest):
            rows = [item.rows for item in items]
            taken = [items[index] for index in similar_to_first(lengths, rows, cost, most_points, half)]
        else:
            taken = _first_of(items, cost, most_points, half)
        if len(taken) == len(waiting):
            waiting.clear()
        else:
            chosen = {id(item) for item in taken}
            self._items = deque([item for item in waiting if id(item) not in chosen])
        self._count_taken(taken)
        return taken

    def _count_taken(self, taken: list[T]) -> None:
        self.points -= sum([item.rows * item.steps for item in taken])
        if self._counts is not None:
            self._counts.subtract([item.connection for item in taken])
            if len(self._items) < self._share:
                self._counts = None


def _first_of(items: Iterable[T], cost: Cost, most_points: float, half: int) -> list[T]:
    """Take requests until they are half of the queue and worth a run, or have as many points as a run may."""
    points, steps, enough = 0, 0, 0.0
    taken: list[T] = []
    for item in items:
        taken.append(item)
        points += item.rows * item.steps
        if item.steps > steps:
            steps = item.steps
            enough = cost.enough(steps)
        if points >= most_points or (len(taken) >= half and points >= enough):
            break
    return taken
