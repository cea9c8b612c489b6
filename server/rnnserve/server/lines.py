"""The line in front of a small model on the lane."""

from collections import deque
from typing import Generic, TypeVar

__all__ = ["Line"]

T = TypeVar("T")


class Line(Generic[T]):
    """First come, first served, until there is a crowd: then connections take turns.

    As long as what waits fits into one batch, order does not matter, and nobody is asked where he comes from. Beyond
    that each connection has a line of its own, and a batch takes from each in turn: one that floods the server delays
    itself, and the others by a batch.
    """

    def __init__(self) -> None:
        """Nobody waits."""
        self._first: deque[T] = deque()
        self._by_peer: dict[str, deque[T]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, item: T) -> None:
        """Put an item behind the others."""
        self._first.append(item)
        self._length += 1

    def add_to_crowd(self, item: T, peer: str) -> None:
        """Put an item behind the others of its connection."""
        self._by_peer.setdefault(peer, deque()).append(item)
        self._length += 1

    def take(self, most: int) -> list[T]:
        """Take as many as there are, up to `most`: who came before the crowd, then from each connection in turn."""
        taken: list[T] = []
        while self._first and len(taken) < most:
            taken.append(self._first.popleft())
        while self._by_peer and len(taken) < most:
            peer = next(iter(self._by_peer))
            line = self._by_peer.pop(peer)
            taken.append(line.popleft())
            if line:
                self._by_peer[peer] = line  # at the back: the next connection's turn
        self._length -= len(taken)
        return taken
