"""How far a test is: one line kept up to date in a terminal, a line for each load elsewhere."""

import time
from collections.abc import Callable
from typing import TextIO

from rnnserve.client.load.plan import Load, Point
from rnnserve.client.load.units import duration_text

__all__ = ["Progress"]

_EVERY = 0.2


class Progress:
    """Writes to a stream what is going on.

    Args:
        stream: Standard error, usually.
        loads: How many there will be; None where that is not known.
        clock: Seconds.
    """

    def __init__(self, stream: TextIO, loads: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._of = f"/{loads}" if loads else ""
        self._clock = clock
        self._number = 0
        self._load = Load()
        self._begin = self._next = 0.0
        self._width = 0

    def begin(self, load: Load) -> None:
        """Say that a load begins."""
        self._number += 1
        self._load = load
        self._begin = self._clock()
        self._next = self._begin
        self.watch(0, 0)

    def watch(self, started: int, ended: int) -> None:
        """Say how many requests were started and how many have ended, in a terminal and not too often."""
        now = self._clock()
        if not self._live or now < self._next:
            return
        self._next = now + _EVERY
        passed, whole = now - self._begin, self._load.warmup + self._load.duration
        state = "warming up" if passed < self._load.warmup else "measuring"
        state = state if passed < whole else "waiting for the last answers"
        filled = min(20, int(20 * passed / whole)) if whole else 20
        self._rewrite(
            f"{self._head()} [{'#' * filled}{'.' * (20 - filled)}] {min(passed, whole):.1f} of {whole:g} s, {state}: "
            f"{started:,} sent, {started - ended:,} under way"
        )

    def end(self, point: Point) -> None:
        """Say what came of the load."""
        tally = point.tally
        failed = sum(tally.errors.values())
        said = f"{tally.answered:,} answers, p50 {duration_text(tally.latency.percentile(50))}, p99 "
        said += duration_text(tally.latency.percentile(99))
        said += f", {failed:,} errors" if failed else ""
        said += f", {tally.wrong:,} wrong labels" if tally.wrong else ""
        self.say(f"{self._head()}: {said}")

    def say(self, text: str) -> None:
        """Write a line that stays."""
        if self._live:
            self._rewrite(text)
        else:
            self._stream.write(text)
        self._stream.write("\n")
        self._stream.flush()
        self._width = 0

    def _head(self) -> str:
        return f"[{self._number}{self._of}] {self._load.text}"

    def _rewrite(self, text: str) -> None:
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)
