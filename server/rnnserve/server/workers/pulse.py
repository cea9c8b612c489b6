"""The pulse of a server's request path: whether requests that arrive are taken and run."""

import time
from collections.abc import Callable, Mapping

__all__ = ["Pulse"]


class Pulse:
    """Says whether the threads that take and run requests make progress. For one thread."""

    def __init__(self, turns: Mapping[str, Callable[[], float]], hung: Callable[[], list[str]]) -> None:
        """Start with the first look.

        Args:
            turns: A number by the name of each thread that takes requests, which is another after each of its turns.
            hung: A function that names what hangs of what is run or parsed.
        """
        self._turns = turns
        self._hung = hung
        self._before: dict[str, float] = {}
        self._excused: dict[str, float] = {}
        self._clock_offset = _clock_offset()

    def complaint(self) -> str | None:
        """Say what has made no progress since the last look, or None. Looks should be some seconds apart at most."""
        hung = self._hung()
        if hung:
            return f"{', '.join(hung)} takes much longer than it costs"
        before, self._before = self._before, {thread: turn() for thread, turn in self._turns.items()}
        # gRPC waits by the wall clock: where that was set back, a thread that waits for requests makes no turn until
        # the clock has come as far again, or a request arrives.
        offset_before, self._clock_offset = self._clock_offset, _clock_offset()
        if self._clock_offset < offset_before - 0.5:
            self._excused = self._before
        for thread, turn in self._before.items():
            if turn == before.get(thread) and turn != self._excused.get(thread):
                return f"{thread} makes no turns"
        return None


def _clock_offset() -> float:
    """Seconds that the wall clock is ahead of the monotonic one: it changes when the wall clock is set."""
    return time.time() - time.monotonic()
