"""The lane as the gRPC server's transport: with the dispatcher that answers its calls, and a guard against floods."""

from collections.abc import Callable

from rnnserve.server.clock import now
from rnnserve.server.connections.flood_guard import (
    FloodGuard,
    LaneProgress,
    address_of,
    arrived_by_connection,
    bound_window,
)
from rnnserve.server.errors import ServeError
from rnnserve.server.lane.completion_queue import Lane
from rnnserve.server.lane.dispatcher import Dispatcher

__all__ = ["LaneTransport"]

_LARGE_AT_ONCE = 4
"""Of the messages that may be arriving on one connection, as many may be large. After the first, the lane receives two
at once; a connection that begins with more large ones than these may be slowed down for a second."""

_CLOSE_SECONDS = 1.0
"""Seconds in which the large requests that wait may end."""


class LaneTransport:
    """Implements `Transport`."""

    threads = 0  # all on the lane's own

    def __init__(self, lane: Lane, dispatcher: Dispatcher, port: Callable[[], int], message_bytes: int) -> None:
        """Start without looking; `start` begins.

        Args:
            lane: The lane.
            dispatcher: What answers its calls.
            port: Where the server listens.
            message_bytes: Bytes that one message may have.
        """
        self._lane = lane
        self._dispatcher = dispatcher
        self._message_bytes = message_bytes
        self._flood_guard = FloodGuard(
            self._progress,
            lambda: arrived_by_connection(port()),
            self._expected,
            lambda connection, size: bound_window(port(), connection, size),
        )

    @property
    def taken(self) -> int:
        """How many calls have arrived."""
        return self._lane.taken

    @property
    def is_receiving(self) -> bool:
        """Whether the message of a call has not arrived yet."""
        return self._lane.late.is_receiving

    @property
    def has_streams(self) -> bool:
        """Whether streams are open."""
        return self._lane.late.has_streams

    def start(self) -> None:
        """Begin to serve."""
        self._lane.start()
        self._flood_guard.start()

    def turns(self) -> dict[str, Callable[[], float]]:
        """Turns of the lane's thread."""
        return {"the lane's thread": lambda: self._lane.turns}

    def hung(self) -> list[str]:
        """Name the parsing of a large request, where it takes too long."""
        return ["the parsing of a large request"] if self._dispatcher.is_hung() else []

    def end_late(self, count: int) -> int:
        """End calls whose message does not arrive, or else streams from which nothing comes."""
        return self._lane.late.end_silent(count)

    def note_short(self, is_short: bool) -> None:
        """Nothing: where messages are late, the lane receives few beside them."""

    def hold(self) -> None:
        """Hold answers back, and calls that arrive."""
        self._lane.hold()

    def release(self) -> None:
        """Let answers be sent, and hand on the calls."""
        self._lane.release()

    def end_streams(self, error: ServeError) -> None:
        """End every stream when what is in hand of it has been answered."""
        self._lane.end_streams(error)

    def stop_accepting(self) -> None:
        """Request no more calls."""
        self._lane.stop_accepting()

    def end(self, deadline: float, /) -> list[str]:
        """Wait for the lane's last answer, and for the last large request."""
        left = []
        if self._lane.is_running():  # not where the server has never started
            self._lane.join(max(0.0, deadline - now()))
            if self._lane.is_running():
                left.append("requests on the lane")
        if not self._dispatcher.close(_CLOSE_SECONDS):
            left.append("large requests")
        self._flood_guard.close()
        return left

    def _progress(self) -> LaneProgress | None:
        """How far the lane's thread has come: it makes turns, or hands calls on."""
        seconds = self._lane.seconds_of_poll()
        return None if seconds is None else LaneProgress(self._lane.turns + self._lane.taken, seconds)

    def _expected(self) -> dict[str, int]:
        """Bytes of messages that may be arriving on the lane, by the address of the connection's peer."""
        receiving = self._lane.late.receiving()
        return {address_of(peer): self._message_bytes * min(count, _LARGE_AT_ONCE) for peer, count in receiving.items()}
