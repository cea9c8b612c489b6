"""Calls whose messages are received later, since as many are being received as may.

They are received in the order of their arrival, until a large message has come: then connections take turns. Naming the
connection of each call, and taking turns, cost 2 of the 20 microseconds of a request.
"""

from collections import deque
from typing import Any

from rnnserve.server.batching import MAX_REQUESTS
from rnnserve.server.batching.connection_turns import ConnectionTurns

__all__ = ["DeferredCalls"]

_Deferred = tuple[Any, float]


class DeferredCalls:
    """Calls as grpcio's core gives them, with their deadlines. For one thread, the lane's."""

    __slots__ = ("_first", "_turns")

    def __init__(self) -> None:
        """Start without any."""
        self._first: deque[_Deferred] = deque()
        self._turns: ConnectionTurns[_Deferred] = ConnectionTurns()

    def __len__(self) -> int:
        return len(self._first) + len(self._turns)

    def add(self, call: Any, deadline: float, *, in_turn: bool) -> None:  # noqa: ANN401 - grpcio's own
        """Add a call after the others; or after those of its connection, where connections take turns.

        Args:
            call: The call.
            deadline: In seconds on the clock of `batching.clock`.
            in_turn: Whether connections take turns. They do, too, where many calls wait.
        """
        if in_turn or len(self._first) >= MAX_REQUESTS:
            self.take_turns()
            self._turns.add(call.peer(), (call, deadline))
        else:
            self._first.append((call, deadline))

    def take_turns(self) -> None:
        """Let the connections of the calls that wait take turns from now on."""
        while self._first:
            call, deadline = self._first.popleft()
            self._turns.add(call.peer(), (call, deadline))

    def pop(self) -> _Deferred:
        """Take the call whose turn it is, with its deadline."""
        return self._turns.pop() if self._turns else self._first.popleft()
