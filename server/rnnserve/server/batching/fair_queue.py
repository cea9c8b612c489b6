"""The queue of a model: which request is next, and how many of those that wait share the next batch."""

import itertools
import math
import operator
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from rnnserve.server.batching import MAX_REQUESTS
from rnnserve.server.batching.cost import Cost
from rnnserve.server.batching.planning import similar_to_first
from rnnserve.server.connections.connection_turns import ConnectionTurns

__all__ = ["FairQueue", "QueueItem"]


class QueueItem(Protocol):
    """What waits in a queue."""

    @property
    def rows(self) -> int:
        """Size of its batch axis."""

    @property
    def steps(self) -> int:
        """Its longest length, or the size of its sequence axis."""

    @property
    def connection(self) -> str:
        """Names its connection."""

    @property
    def may_be_displaced(self) -> bool:
        """Whether it may be refused in favour of another connection's, although it waits already."""


T = TypeVar("T", bound=QueueItem)

_CONNECTION = operator.attrgetter("connection")


class FairQueue(Generic[T]):
    """First come, first served, until it is crowded: then connections take turns.

    While few requests wait, they are not grouped by connection. When it is crowded, each connection has a queue of its
    own, and the connections are served in turn: one that floods the server delays itself much and the others little.
    Where as many wait as may, one of the connection with the most gives way to one of another connection.

    Attributes:
        points: Rows * steps of all that wait.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._turns: ConnectionTurns[T] = ConnectionTurns()
        self._length = 0
        self.points = 0

    def __len__(self) -> int:
        return self._length

    @property
    def is_crowded(self) -> bool:
        """Whether so many wait that connections take turns: then an item is added with `add_from`."""
        return self._length >= MAX_REQUESTS or self._turns.grouped > 0

    def add(self, item: T) -> None:
        """Add an item after the others. For a queue that is not crowded."""
        self._turns.ungrouped.append(item)
        self._length += 1
        self.points += item.rows * item.steps

    def extend(self, items: list[T], points: int) -> None:
        """Add items, of `points` rows * steps together, after the others. For a queue that is not crowded with them."""
        self._turns.ungrouped.extend(items)
        self._length += len(items)
        self.points += points

    def add_from(self, connection: str, item: T) -> None:
        """Add an item after the others of its connection."""
        self._turns.add(connection, item)
        self._length += 1
        self.points += item.rows * item.steps

    def displace(self, item: T, least_points: int = 0) -> T | None:
        """Take out one of the newest items of the connection with the most, in favour of one that is to be added.

        Args:
            item: The item that is to be added, with `add_from`.
            least_points: Rows * steps that it has to have.

        Returns:
            What has been taken out; None where nothing may give way to this one.
        """
        self._turns.group(_CONNECTION)

        def may(other: T) -> bool:
            return other.may_be_displaced and other.rows * other.steps >= least_points

        displaced = self._turns.displace(item.connection, may)
        if displaced is not None:
            self._length -= 1
            self.points -= displaced.rows * displaced.steps
        return displaced

    def has_of(self, connection: str) -> bool:
        """Whether something of a connection waits."""
        self._turns.group(_CONNECTION)
        return self._turns.count_of(connection) > 0

    def points_before(self, connection: str) -> int:
        """About how many rows * steps are run before the next item of a connection would be: all without turns."""
        if not self._turns.grouped:
            return self.points
        before = len(self._turns.ungrouped) + (self._turns.count_of(connection) + 1) * self._turns.connections
        return self.points * min(before, self._length) // self._length

    def __iter__(self) -> Iterator[T]:
        return iter(self._turns)

    def take_rows(self, most: int) -> list[T]:
        """Take what is next, until it has so many rows; the last may have more."""
        taken: list[T] = []
        rows = 0
        while rows < most and self._length:
            item = self._turns.pop()
            taken.append(item)
            rows += item.rows
            self._length -= 1
            self.points -= item.rows * item.steps
        return taken

    def take(self, cost: Cost, most_points: float = math.inf, *, is_padded: bool = True) -> list[T]:
        """Take the next batch: half of what waits, or more, until a run of it is worth making.

        A batch of all that waits would keep the first of them waiting for the last. And where clients ask again as soon
        as they are answered, all of them would wait for the server, and then the server for all of them.

        Where more waits than is worth a run, the batch is of those that best share one with the request that has waited
        longest: of all that wait, so that there are many of similar lengths. So what waits longest is always next.
        Where connections take turns, they do so whatever the lengths.

        Args:
            cost: Cost of a run.
            most_points: Rows * steps with which a batch is complete.
            is_padded: Whether requests of different lengths may share a run.
        """
        waiting, in_order = self._turns, self._turns.ungrouped
        if self._length == len(in_order) <= MAX_REQUESTS and self.points <= min(cost.enough(1), most_points):
            taken = list(in_order)  # for more steps, `enough` is more
            in_order.clear()
            self._length = self.points = 0
            return taken
        half = (self._length + 1) // 2
        if self._length > len(in_order):
            in_turn = (waiting.pop() for _ in range(min(self._length, MAX_REQUESTS)))
            taken = _first_of(in_turn, cost, most_points, half)
        else:
            items = list(itertools.islice(in_order, MAX_REQUESTS))
            lengths = [item.steps for item in items]
            if not is_padded:
                taken = _first_of([item for item in items if item.steps == items[0].steps], cost, most_points, half)
            elif min(lengths) < (longest := max(lengths)) and self.points > cost.enough(longest):
                rows = [item.rows for item in items]
                taken = [items[index] for index in similar_to_first(lengths, rows, cost, most_points, half)]
            else:
                taken = _first_of(items, cost, most_points, half)
            if len(taken) == self._length:
                in_order.clear()
            else:
                chosen = {id(item) for item in taken}
                self._turns.ungrouped = deque([item for item in in_order if id(item) not in chosen])
        self._length -= len(taken)
        self.points -= sum([item.rows * item.steps for item in taken])
        return taken


def _first_of(items: Iterable[T], cost: Cost, most_points: float, half: int) -> list[T]:
    """Take items until they are half of what waits and worth a run, or have as many points as a run may."""
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
