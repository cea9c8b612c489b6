"""The line in front of a model: who is next, and how many of those that wait share the next batch."""

import math
from collections import deque
from typing import Generic, Protocol, TypeVar

from rnnserve.server.batching import Cost

__all__ = ["MOST", "Line", "Waits"]

MOST = 256
"""How many requests are in a batch at the most: behind it, others are looked after."""


class Waits(Protocol):
    """What stands in a line."""

    @property
    def rows(self) -> int:
        """Size of its batch axis."""

    @property
    def steps(self) -> int:
        """Size of its sequence axis."""


T = TypeVar("T", bound=Waits)


class Line(Generic[T]):
    """First come, first served, until there is a crowd: then connections take turns.

    As long as few wait, nobody is asked where he comes from. In a crowd each connection has a line of its own, and is
    served in turn: one that floods the server delays itself, and the others by little.
    """

    def __init__(self) -> None:
        """Nobody waits."""
        self._first: deque[T] = deque()
        self._by_peer: dict[str, deque[T]] = {}
        self._length = 0
        self._points = 0  # rows * steps of all that wait

    def __len__(self) -> int:
        return self._length

    @property
    def is_crowd(self) -> bool:
        """Whether as many wait that connections take turns: then who comes has to `add_to_crowd`."""
        return self._length >= MOST or bool(self._by_peer)

    def add(self, item: T) -> None:
        """Put an item behind the others, where there is no crowd."""
        self._first.append(item)
        self._length += 1
        self._points += item.rows * item.steps

    def extend(self, items: list[T], points: int) -> None:
        """Put items, `points` rows * steps together, behind the others, where there is no crowd, nor one with them."""
        self._first.extend(items)
        self._length += len(items)
        self._points += points

    def add_to_crowd(self, item: T, peer: str) -> None:
        """Put an item behind the others of its connection."""
        self._by_peer.setdefault(peer, deque()).append(item)
        self._length += 1
        self._points += item.rows * item.steps

    @property
    def points(self) -> int:
        """Rows * steps of all that wait."""
        return self._points

    def take(self, cost: Cost, most_points: float = math.inf) -> list[T]:
        """Take the next batch: half of what waits, or more, until there is enough for a run to be worth its while.

        A batch of all that waits would keep the first of them waiting for the last. And where clients ask again as soon
        as they are answered, all of them would wait for the server, and then the server for all of them.

        Args:
            cost: Of a run.
            most_points: With as many rows * steps, a batch ends.
        """
        if self._length == len(self._first) <= MOST and self._points <= min(cost.enough(1), most_points):
            taken = list(self._first)  # enough is more for more steps
            self._first.clear()
            self._length = self._points = 0
            return taken
        most, half = min(self._length, MOST), (self._length + 1) // 2
        points, steps, enough = 0, 0, 0.0
        taken = []
        while len(taken) < most and points < most_points and (len(taken) < half or points < enough):
            item = self._next()
            taken.append(item)
            points += item.rows * item.steps
            if item.steps > steps:
                steps = item.steps
                enough = cost.enough(steps)
        self._points -= points
        return taken

    def _next(self) -> T:
        """Who came before the crowd, then each connection in turn."""
        self._length -= 1
        if self._first:
            return self._first.popleft()
        peer = next(iter(self._by_peer))
        line = self._by_peer.pop(peer)
        item = line.popleft()
        if line:
            self._by_peer[peer] = line  # at the back: the next connection's turn
        return item
