"""Generators in their own processes, which start each load level at the same time."""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

from rnnserve.client.errors import ClientError
from rnnserve.client.load.generator_worker import LoadTarget, run_generator_worker
from rnnserve.client.load.load_level import LoadLevel
from rnnserve.client.load.load_statistics import LoadStatistics
from rnnserve.client.load.workload import WorkloadSpec

__all__ = ["GeneratorProcesses", "ProgressCallback"]

_HEAD_START_SECONDS = 0.05
_TICK_SECONDS = 0.1

ProgressCallback = Callable[[int, int], None]
"""Called several times per second with the number of requests that were started and that have ended."""


class GeneratorProcesses:
    """Generator processes, which run any number of load levels.

    Args:
        target: The server, and the connections to it.
        spec: What to send.
        processes: Number of generators; each sends an equal part of the load.
    """

    def __init__(self, target: LoadTarget, spec: WorkloadSpec, processes: int = 1) -> None:
        # Processes that use gRPC must not fork.
        context = multiprocessing.get_context("spawn")
        self._counters = context.RawArray("q", 2 * processes)
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

    def run(self, load: LoadLevel, report_progress: ProgressCallback) -> tuple[LoadStatistics, float]:
        """Run a load level; return the sums over all generators, and the measured seconds.

        Raises:
            Unavailable: No server answers at the address.
            ClientError: A generator's process ended unexpectedly.
        """
        for pipe in self._pipes:
            pipe.send(load)
        self._gather(lambda *_: None)
        begin = time.perf_counter_ns() + int(_HEAD_START_SECONDS * 1e9)
        for pipe in self._pipes:
            pipe.send(begin)
        parts: list[tuple[LoadStatistics, float]] = self._gather(report_progress)
        return LoadStatistics.merged(part for part, _ in parts), max(seconds for _, seconds in parts)

    def _gather(self, report_progress: ProgressCallback) -> list[Any]:
        """Return one message from each generator, or raise the error that a generator sent."""
        messages: dict[Any, Any] = {}
        while len(messages) < len(self._pipes):
            waiting: list[Any] = [pipe for pipe in self._pipes if pipe not in messages]
            ready: list[Any] = wait(waiting, _TICK_SECONDS)
            for pipe in ready:
                try:
                    messages[pipe] = pipe.recv()
                except EOFError as error:
                    raise ClientError("a generator's process ended before its load ended") from error
                if isinstance(messages[pipe], Exception):
                    raise messages[pipe]
            report_progress(sum(self._counters[::2]), sum(self._counters[1::2]))
        return [messages[pipe] for pipe in self._pipes]
