"""The pulse of a server's request path: whether requests that arrive are taken and run."""

import time
from collections.abc import Callable

__all__ = ["Pulse"]


class Pulse:
    """Says whether the threads that take and run requests make progress. For one thread."""

    def __init__(self, lane_turns: Callable[[], int] | None, hung: Callable[[], list[str]]) -> None:
        """Start with the first look.

        Args:
            lane_turns: How many turns the lane's thread has made; None where no lane runs.
            hung: Names the models whose run hangs.
        """
        self._lane_turns = lane_turns
        self._hung = hung
        self._turns = -1
        self._excused = -1
        self._clock_offset = _clock_offset()

    def complaint(self) -> str | None:
        """Say what has made no progress since the last look, or None. Looks should be some seconds apart at most."""
        hung = self._hung()
        if hung:
            return f"the run of {', '.join(hung)} takes much longer than it costs"
        if self._lane_turns is None:
            return None
        before, self._turns = self._turns, self._lane_turns()
        # gRPC waits by the wall clock: where that was set back, a lane that waits for requests makes no turn until the
        # clock has come as far again, or a request arrives.
        offset_before, self._clock_offset = self._clock_offset, _clock_offset()
        if self._clock_offset < offset_before - 0.5:
            self._excused = self._turns
        if self._turns == before and self._turns != self._excused:
            return "the lane's thread makes no turns"
        return None


def _clock_offset() -> float:
    """Seconds that the wall clock is ahead of the monotonic one: it changes when the wall clock is set."""
    return time.time() - time.monotonic()
