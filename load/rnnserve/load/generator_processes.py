"""Generators in their own processes, which start each load level at the same time."""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

from rnnserve.client import ClientError
from rnnserve.load.generator_worker import LoadTarget, run_generator_worker
from rnnserve.load.latency_counts import LatencyCounts
from rnnserve.load.load_level import LoadLevel, Measurement
from rnnserve.load.load_statistics import LoadStatistics
from rnnserve.load.verdict import is_decided
from rnnserve.load.workload import WorkloadSpec

__all__ = ["GeneratorProcesses", "ProgressCallback"]

_HEAD_START_SECONDS = 0.05
_TICK_SECONDS = 0.1
_STOP_AFTER_NS = 300_000_000
"""From a decision to the time from which no request is due: generators look for it ten times per second."""

ProgressCallback = Callable[[int, int], None]
"""Called several times per second with the number of requests that were started and that have ended."""


class GeneratorProcesses:
    """Generator processes, which run any number of load levels.

    Args:
        target: The server, and the connections to it.
        spec: The requests to send.
        processes: Number of generators; each sends an equal part of the load.
        first: Number of the first level. Levels of one number and one seed have the same schedule.
    """

    def __init__(self, target: LoadTarget, spec: WorkloadSpec, processes: int = 1, first: int = 0) -> None:
        # Processes that use gRPC must not fork.
        context = multiprocessing.get_context("spawn")
        self.count = processes
        self._counters = context.RawArray("q", 2 * processes + 1)
        self._number = first
        self._pipes: list[Connection] = []
        self._processes = []
        for part in range(processes):
            ours, theirs = context.Pipe()
            arguments = (theirs, target, spec, part, processes, self._counters)
            process = context.Process(
                target=run_generator_worker, args=arguments, daemon=True, name=f"load generator {part}"
            )
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in self._pipes:
            pipe.close()  # the generators end when they read the end of the pipe
        for process in self._processes:
            if kind is not None:
                process.terminate()
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()

    def run(self, load: LoadLevel, report_progress: ProgressCallback) -> Measurement:
        """Run a load level; return the sums over all generators.

        Raises:
            Unavailable: No server answers at the address.
            ClientError: A generator's process ended unexpectedly.
        """
        self._counters[-1] = 0
        for pipe in self._pipes:
            pipe.send((load, self._number))
        self._number += 1
        looks: dict[Any, list[LatencyCounts]] = {pipe: [] for pipe in self._pipes}
        self._gather(looks, lambda: None)
        begin = time.perf_counter_ns() + int(_HEAD_START_SECONDS * 1e9)
        for pipe in self._pipes:
            pipe.send(begin)
        decided: list[LatencyCounts] = []

        def look_and_report() -> None:
            while not decided and all(looks.values()):
                counts = [taken.pop(0) for taken in looks.values()]
                whole = sum(counts[1:], start=counts[0])
                if load.objective is not None and is_decided(whole, load.objective):
                    decided.append(whole)
                    self._counters[-1] = time.perf_counter_ns() + _STOP_AFTER_NS
            report_progress(sum(self._counters[:-1:2]), sum(self._counters[1::2]))

        parts: list[tuple[LoadStatistics, float]] = self._gather(looks, look_and_report)
        statistics, seconds = LoadStatistics.merged(part for part, _ in parts), max(seconds for _, seconds in parts)
        return Measurement(statistics, seconds, decided[0] if decided else None)

    def _gather(self, looks: dict[Any, list[LatencyCounts]], tick: Callable[[], None]) -> list[Any]:
        """Return one message from each generator, or raise the error that a generator sent; collect looks."""
        messages: dict[Any, Any] = {}
        while len(messages) < len(self._pipes):
            waiting: list[Any] = [pipe for pipe in self._pipes if pipe not in messages]
            ready: list[Any] = wait(waiting, _TICK_SECONDS)
            for pipe in ready:
                try:
                    message = pipe.recv()
                except EOFError as error:
                    raise ClientError("a generator's process ended before its load ended") from error
                if isinstance(message, Exception):
                    raise message
                if isinstance(message, LatencyCounts):
                    looks[pipe].append(message)
                else:
                    messages[pipe] = message
            tick()
        return [messages[pipe] for pipe in self._pipes]
