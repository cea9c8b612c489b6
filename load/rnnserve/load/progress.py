"""Progress of a load test: a progress bar in a terminal, else one line per load."""

import time
from collections.abc import Callable
from typing import Never, TextIO

from tqdm import tqdm

from rnnserve.load.load_level import LoadLevel
from rnnserve.load.load_result import LoadResult
from rnnserve.load.units import format_duration

__all__ = ["LoadProgress"]

_BAR = "{desc}: [{bar:20}] {n:.1f} of {total:g} s{postfix}"


class LoadProgress:
    """Shows the progress of a load test on a stream. `loads` is the number of loads, or None if unknown."""

    def __init__(self, stream: TextIO, loads: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._of_loads = f"/{loads}" if loads else ""
        self._clock = clock
        self._number = 0
        self._load = LoadLevel()
        self._begin: float | None = None
        self._bar: tqdm[Never] | None = None

    def begin(self, load: LoadLevel) -> None:
        """Show that a load begins."""
        self._number += 1
        self._load = load
        self._begin = None
        self._bar = tqdm(
            desc=self._heading(),
            total=load.warmup + load.duration,
            file=self._stream,
            disable=None,  # disabled unless the stream is a terminal
            bar_format=_BAR,
            ascii=".#",
            leave=False,
            dynamic_ncols=True,
            postfix="starting",
        )

    def update(self, started: int, ended: int) -> None:
        """Show how many requests have started and ended. Shows nothing outside a terminal."""
        if self._bar is None:
            return
        if self._begin is None:
            self._begin = self._clock()  # because the generators connect between `begin` and the first update
        passed, total = self._clock() - self._begin, self._load.warmup + self._load.duration
        state = "warming up" if passed < self._load.warmup else "measuring"
        state = state if passed < total else "waiting for the last responses"
        self._bar.n = min(passed, total)
        self._bar.set_postfix_str(f"{state}: {started:,} sent, {started - ended:,} in flight")

    def end(self, result: LoadResult) -> None:
        """Write one line about the result of the load."""
        statistics = result.statistics
        text = f"{statistics.answered:,} answers, p50 {format_duration(result.latency.percentile(50))}, p99 "
        text += format_duration(result.latency.percentile(99))
        text += f", {statistics.failed:,} errors" if statistics.failed else ""
        text += f", {statistics.different:,} wrong" if statistics.different else ""
        self.write_line(f"{self._heading()}: {text}")

    def write_line(self, text: str) -> None:
        """Remove the bar and write a line, which stays visible."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def _heading(self) -> str:
        return f"[{self._number}{self._of_loads}] {self._load.text}"
