"""`--processes auto`: more generators where the generator was the limit."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rnnserve.common.cgroup import usable_cores
from rnnserve.load.generator_limit import is_busy
from rnnserve.load.generator_processes import GeneratorProcesses, ProgressCallback
from rnnserve.load.load_level import LoadLevel, Measurement

__all__ = ["GrowingGenerators", "most_generators"]

_RATE_OF_ONE = 3000.0
"""Requests per second for which one generator is planned: less than half of what it sends (docs/lab/findings.md,
"Clients and peers")."""


def most_generators() -> int:
    """Return half of the cores, since the server may be on the same machine."""
    return max(1, usable_cores() // 2)


class GrowingGenerators:
    """Generators whose number doubles when one of them was busy, up to half of the cores; the load is then run again.

    Args:
        start: A function that starts a number of generators, the first level of which has a number.
        rate: Highest rate of the test, requests per second; 0 if it is not known.
        most: Largest number of generators.
        tell: A function that is told in words when the number grows.
    """

    def __init__(
        self, start: Callable[[int, int], GeneratorProcesses], rate: float, most: int, tell: Callable[[str], None]
    ) -> None:
        self.count = min(most, max(1, -int(-rate // _RATE_OF_ONE)))
        self._start = start
        self._most = most
        self._tell = tell
        self._levels = 0
        self._generators = start(self.count, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._generators.__exit__(kind, error, trace)

    def run(self, load: LoadLevel, report_progress: ProgressCallback) -> Measurement:
        """Run a load level, if need be several times; return what the last time measured."""
        while True:
            measured = self._generators.run(load, report_progress)
            self._levels += 1
            if not is_busy(measured.statistics) or self.count == self._most:
                return measured
            self._generators.__exit__(None, None, None)
            self.count = min(2 * self.count, self._most)
            self._tell(f"a generator was busy: {load.text} is measured again with {self.count}")
            self._generators = self._start(self.count, self._levels)
