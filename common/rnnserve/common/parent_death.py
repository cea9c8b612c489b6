"""A process that ends with the one that started it, even while it is stopped: the kernel kills it.

A pipe whose other end closes tells the same to a process that runs; one that has been stopped (SIGSTOP) does not read
it, and would stay, with its port and its memory.
"""

import ctypes
import errno
import os
import queue
import select
import signal
import threading
from collections.abc import Callable
from concurrent import futures
from typing import TypeVar

__all__ = ["die_with_parent", "in_lasting_thread"]

T = TypeVar("T")

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(lifeline: int) -> None:
    """Have the kernel kill this process when the *thread* that started it ends (prctl(2), PR_SET_PDEATHSIG).

    So the thread that starts such a process has to live as long as it is needed.

    Args:
        lifeline: Descriptor of a pipe that only the process that started this one holds open. If that has ended before
            this call, the kernel would not tell: then this process ends here.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    poll = select.poll()
    poll.register(lifeline, 0)  # POLLHUP is told in any case
    if any(event & select.POLLHUP for _, event in poll.poll(0)):
        os._exit(0)


def in_lasting_thread(start: Callable[[], T]) -> T:
    """Call what starts such a process, in a thread that lasts as long as this process; return what it returns.

    Raises:
        OSError: If the thread cannot be started: this process may have no more.
    """
    return _Starter.of_this_process().call(start)


class _Starter:
    """A thread that calls functions, one after another."""

    _current: "_Starter | None" = None
    _pid = 0
    _lock = threading.Lock()

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], object], futures.Future[object]]] = queue.SimpleQueue()
        try:
            threading.Thread(target=self._loop, name="starter", daemon=True).start()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, str(error)) from error

    @classmethod
    def of_this_process(cls) -> "_Starter":
        """Give the one of this process: a fork has no threads of its parent's."""
        with cls._lock:
            if cls._current is None or cls._pid != os.getpid():
                cls._current, cls._pid = cls(), os.getpid()
            return cls._current

    def call(self, function: Callable[[], T]) -> T:
        """Call a function in the thread; raise what it raises."""
        done: futures.Future[T] = futures.Future()
        self._calls.put((function, done))  # type: ignore[arg-type]
        return done.result()

    def _loop(self) -> None:
        while True:
            function, done = self._calls.get()
            try:
                done.set_result(function())
            except BaseException as error:  # noqa: BLE001 - it is raised where the call was asked for
                done.set_exception(error)
