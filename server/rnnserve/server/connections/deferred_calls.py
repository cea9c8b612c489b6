"""Calls whose messages are received later, since as many are being received as may.

They are received in the order of their arrival, until a large message has come: then connections take turns. Naming the
connection of each call, and taking turns, cost 2 of the 20 microseconds of a request.
"""

from collections import deque
from typing import Generic, Protocol, TypeVar

from rnnserve.server.connections.connection_turns import ConnectionTurns

__all__ = ["MOST_IN_ORDER", "DeferredCalls"]

MOST_IN_ORDER = 256
"""Calls that may wait in the order of their arrival; where there are more, connections take turns."""


class _Call(Protocol):
    def peer(self) -> str:
        """Name its connection."""


C = TypeVar("C", bound=_Call)


class DeferredCalls(Generic[C]):
    """Calls whose messages are not being received yet. For one thread, the lane's."""

    __slots__ = ("_first", "_turns")

    def __init__(self) -> None:
        """Start without any."""
        self._first: deque[C] = deque()
        self._turns: ConnectionTurns[C] | None = None  # while some of them take turns

    def add(self, call: C, in_turn: bool) -> None:
        """Add a call after the others; or after those of its connection, where connections take turns.

        Args:
            call: The call.
            in_turn: Whether connections take turns. They do, too, where many calls wait.
        """
        self._first.append(call)
        if in_turn or len(self._first) > MOST_IN_ORDER:
            self.take_turns()

    def take_turns(self) -> None:
        """Let the connections of the calls that wait take turns from now on."""
        if not self._first:
            return
        turns = self._turns = self._turns or ConnectionTurns()
        while self._first:
            call = self._first.popleft()
            turns.add(call.peer(), call)

    def pop(self) -> C:
        """Take the call whose turn it is.

        Raises:
            IndexError: If there is none.
        """
        if self._turns is None:
            return self._first.popleft()
        call = self._turns.pop()
        if not self._turns:
            self._turns = None
        return call
