"""The streams of one connection: how many of their requests are in hand, so that one client cannot fill the server."""

import threading
from collections.abc import Iterable
from typing import Protocol

__all__ = ["ConnectionStreams"]

_IN_HAND_OF_CONNECTION = 1024
"""Requests of all streams of one connection that are in hand; as many more as it has streams may be received at that
moment. Beyond it: the next wait at the client."""


class PausedStream(Protocol):
    """A stream that receives no further request for now."""

    def receive_again(self) -> None:
        """Receive, after others of its connection have been answered."""


class ConnectionStreams:
    """The streams of one connection: how many of their requests are in hand. Any thread may use it.

    Attributes:
        name: The connection's.
    """

    __slots__ = ("__weakref__", "_in_hand", "_lock", "_paused", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._in_hand = 0
        self._paused: set[PausedStream] = set()

    def may_receive(self, stream: PausedStream) -> bool:
        """Whether a stream may receive now; if not, it is told later."""
        with self._lock:
            if self._in_hand < _IN_HAND_OF_CONNECTION:
                return True
            self._paused.add(stream)
            return False

    def take(self) -> None:
        """Count a request that has been received."""
        with self._lock:
            self._in_hand += 1

    def give_back(self, count: int) -> Iterable[PausedStream]:
        """Count requests that are no longer in hand, and give the streams that may receive again."""
        with self._lock:
            self._in_hand -= count
            if not self._paused or self._in_hand >= _IN_HAND_OF_CONNECTION:
                return ()
            resumed, self._paused = self._paused, set()
            return resumed
