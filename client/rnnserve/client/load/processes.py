"""Generators in processes of their own, which start each load at the same moment."""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

from rnnserve.client.errors import ClientError
from rnnserve.client.load.plan import Load
from rnnserve.client.load.samples import Tally
from rnnserve.client.load.share import Target, make_loads
from rnnserve.client.load.workload import WorkloadSpec

__all__ = ["Fleet", "Watch"]

_HEAD_START = 0.05
_TICK = 0.1

Watch = Callable[[int, int], None]
"""Is told now and then how many requests have been started and how many have ended."""


class Fleet:
    """Generator processes, which live through any number of loads.

    Args:
        target: Whom to ask.
        spec: What to ask.
        processes: How many generators; each sends its share of a load.
    """

    def __init__(self, target: Target, spec: WorkloadSpec, processes: int = 1) -> None:
        # A process that uses gRPC cannot fork.
        context = multiprocessing.get_context("spawn")
        self._counters = context.RawArray("q", 2 * processes)
        self._pipes: list[Connection] = []
        self._processes = []
        for part in range(processes):
            ours, theirs = context.Pipe()
            arguments = (theirs, target, spec, part, processes, self._counters)
            process = context.Process(target=make_loads, args=arguments, daemon=True, name=f"load generator {part}")
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
            pipe.close()  # tells them to end
        for process in self._processes:
            if kind is not None:
                process.terminate()
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()

    def run(self, load: Load, watch: Watch) -> tuple[Tally, float]:
        """Make a load and return the sums over all generators, and the seconds measured.

        Raises:
            Unavailable: Nobody answers at the address.
            ClientError: A generator's process ended.
        """
        for pipe in self._pipes:
            pipe.send(load)
        self._gather(lambda *_: None)
        begin = time.perf_counter_ns() + int(_HEAD_START * 1e9)
        for pipe in self._pipes:
            pipe.send(begin)
        parts: list[tuple[Tally, float]] = self._gather(watch)
        return Tally.merged(part for part, _ in parts), max(seconds for _, seconds in parts)

    def _gather(self, watch: Watch) -> list[Any]:
        """Return one message of each generator, or raise the error that one sent."""
        messages: dict[Any, Any] = {}
        while len(messages) < len(self._pipes):
            waiting: list[Any] = [pipe for pipe in self._pipes if pipe not in messages]
            ready: list[Any] = wait(waiting, _TICK)
            for pipe in ready:
                try:
                    messages[pipe] = pipe.recv()
                except EOFError as error:
                    raise ClientError("a generator's process ended before its load was over") from error
                if isinstance(messages[pipe], Exception):
                    raise messages[pipe]
            watch(sum(self._counters[::2]), sum(self._counters[1::2]))
        return [messages[pipe] for pipe in self._pipes]
