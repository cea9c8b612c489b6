"""The queue of pending requests of a model: how many may wait, and which of them form the next batch."""

import dataclasses
import itertools
import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from rnnserve.server.batching import MAX_REQUESTS
from rnnserve.server.batching.execution import Cost
from rnnserve.server.clock import now
from rnnserve.server.errors import QueueFull, ServeError, WaitTooLong

__all__ = ["QueueLimits", "WaitingQueue", "similar_to_first"]

_SHARE, _LEAST_SHARE = 4, 16
"""One connection may use a quarter of a queue, or 16 places if that is more, so that a client with many requests leaves
room for others. Beyond it: RESOURCE_EXHAUSTED at once."""

_GOOD_ENOUGH = 0.9
"""A batch with more requests may have this part of the best rate, because fewer calls save time elsewhere (see `_WORTH`
in `execution`)."""


class _Item(Protocol):
    """The attributes of a pending request that the queue reads."""

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
    """Limits of one model's queue. With a limit on the number only, heavy requests queued up for 23 s."""

    requests: int
    seconds: float  # total expected run time of all pending requests

    @property
    def of_connection(self) -> int:
        """Maximum number of pending requests per connection."""
        return max(self.requests // _SHARE, min(self.requests, _LEAST_SHARE))


class WaitingQueue(Generic[T]):
    """A first-in, first-out queue. Not thread-safe."""

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._share = limits.of_connection
        self._items: deque[T] = deque()
        self._counts: Counter[str] | None = None  # by connection (None while no connection can exceed its share)
        self.points = 0  # rows * steps of all pending requests

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def has_room_for(self, count: int) -> bool:
        """Return whether `count` more requests fit within all limits on numbers, whatever their connections."""
        return len(self._items) + count <= self._share

    def add(self, item: T) -> None:
        """Add a request after `refusal` returned None for it."""
        self._items.append(item)
        self.points += item.rows * item.steps
        if self._counts is not None:
            self._counts[item.connection] += 1

    def extend(self, items: list[T], points: int) -> None:
        """Add requests with `points` rows * steps in total. There must be room for them."""
        self._items.extend(items)
        self.points += points

    def refusal(self, model: str, cost: Cost, item: T) -> ServeError | None:
        """Return why a request may not wait, or None. An empty queue accepts any request."""
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
        if 0 <= remaining < seconds:  # late requests may wait: they are dropped and counted later
            return WaitTooLong.beyond_deadline(model, seconds, remaining)
        return None

    def take_rows(self, most: int) -> list[T]:
        """Remove the next requests until they have at least `most` rows. The last one may exceed that."""
        taken: list[T] = []
        rows = 0
        while rows < most and self._items:
            item = self._items.popleft()
            taken.append(item)
            rows += item.rows
        self._count_taken(taken)
        return taken

    def take(self, cost: Cost, most_points: float = math.inf, *, is_padded: bool = True) -> list[T]:
        """Remove the next batch: half of the pending requests, or more until the batch is large enough.

        If a batch took all pending requests, the first of them would wait for the last. Also, if clients send again as
        soon as they are answered, all clients would wait for the server, and then the server for all clients.

        If more requests are pending than a batch needs, the batch gets the requests that best share a batch with the
        oldest request, so that lengths are similar. Unless `is_padded`, all lengths are equal. The oldest request is
        always included. A batch is complete with `most_points` rows * steps.
        """
        waiting = self._items
        if len(waiting) <= MAX_REQUESTS and self.points <= min(cost.enough(1), most_points):
            taken = list(waiting)  # with more steps, `enough` only grows
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
    """Take requests until they are half of the queue and a large enough batch, or reach `most_points`."""
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


def similar_to_first(
    lengths: Sequence[int], rows: Sequence[int], cost: Cost, most_points: float, half: int
) -> list[int]:
    """Return the ascending indices of the pending requests that best share a batch with the first one.

    Takes as many requests of similar lengths as give the most steps per second: with fewer requests, fixed costs weigh
    more, and with more requests, padding does. The batch has at most `most_points` points unless the first request
    alone exceeds them. It also ends after `half` of the pending requests if it is large enough by then.
    """
    own = lengths[0]
    distance = [2 * (own - steps) if steps <= own else 2 * (steps - own) + 1 for steps in lengths]  # shorter ones first
    nearest = sorted(range(len(lengths)), key=distance.__getitem__)
    more = cost.point - cost.padding
    together = longest = points = count = 0
    best = 0.0
    for number, index in enumerate(nearest, 1):
        points += rows[index] * lengths[index]
        if number > 1 and points > most_points:
            break
        together += rows[index]
        longest = max(longest, lengths[index])
        rate = points and points / (cost.run + longest * (cost.step + together * cost.padding) + points * more)
        if rate >= _GOOD_ENOUGH * best:
            best, count = max(rate, best), number
        if number >= half and points >= cost.enough(longest):
            break
    return sorted(nearest[:count])
