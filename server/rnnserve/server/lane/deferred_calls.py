"""Calls whose messages are received later, since as many are being received as may: connections take turns."""

from typing import Any

from rnnserve.server.batching.connection_turns import ConnectionTurns

__all__ = ["DeferredCalls"]


class DeferredCalls:
    """Calls that have arrived, by connection. For one thread, the lane's."""

    def __init__(self) -> None:
        """Start without any."""
        self._turns: ConnectionTurns[tuple[Any, float]] = ConnectionTurns()

    def __len__(self) -> int:
        return len(self._turns)

    def add(self, call: Any, deadline: float) -> None:  # noqa: ANN401 - grpcio's own
        """Add a call after the others of its connection.

        Args:
            call: As grpcio's core gives it.
            deadline: In seconds on the clock of `batching.clock`.
        """
        self._turns.add(call.peer(), (call, deadline))

    def pop(self) -> tuple[Any, float]:
        """Take the first call, with its deadline, of the connection whose turn it is."""
        return self._turns.pop()
