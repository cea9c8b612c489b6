"""Generators of load tests, each in a fork of one process that has imported what they need.

One that is started anew takes 0.6 s of processor time where coverage is measured, all but a tenth of it for its start.
"""

import contextlib
import multiprocessing
import multiprocessing.forkserver
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from typing import Any

import coverage

__all__ = ["ForkedContext", "forked_context"]


class ForkedContext:
    """What `GeneratorProcesses` needs of a context of multiprocessing."""

    def __init__(self) -> None:
        self._context: Any = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["rnnserve.load.generator_worker"])
        self.Pipe = self._context.Pipe
        self.RawArray = self._context.RawArray

    def Process(self, *, target: Callable[..., None], args: tuple[Any, ...], **more: Any) -> BaseProcess:  # noqa: N802
        """Prepare a process, as that of multiprocessing does."""
        process: BaseProcess = self._context.Process(target=_measured, args=(target, args), **more)
        return process


@contextlib.contextmanager
def forked_context() -> Iterator[ForkedContext]:
    """Give the context; at the end, the process that is forked ends."""
    yield ForkedContext()
    server: Any = multiprocessing.forkserver._forkserver
    server._stop()


def _measured(target: Callable[..., None], args: tuple[Any, ...]) -> None:
    """Run a function; where coverage is measured, save what it has executed, which no fork does by itself."""
    target(*args)
    measuring = coverage.Coverage.current()
    if measuring is not None:
        measuring.stop()
        measuring.save()
