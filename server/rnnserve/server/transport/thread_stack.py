"""Threads that do the same work again and again: the one that became idle last is woken first.

What it needs is still in the processor's caches then, and most of the others never wake. On one core 1.1 times as many
calls were answered as with the threads of Python's own pool, which wake in turn.
"""

import threading
from collections.abc import Callable

__all__ = ["ThreadStack"]


class ThreadStack:
    """A bounded number of threads, each started when it is needed first. Any thread may use it."""

    def __init__(self, most: int, name: str, work: Callable[[], None]) -> None:
        """Start with no thread.

        Args:
            most: Largest number of threads.
            name: Name of the threads.
            work: A function that does all that there is to do, and returns when nothing is left for another thread to
                do.
        """
        self._most = most
        self._name = name
        self._work = work
        self._threads: list[threading.Thread] = []
        self._idle: list[threading.Lock] = []  # what each waits for, of the one that became idle last at the end
        self._is_wanted = self._is_closed = False
        self._lock = threading.Lock()

    def wake(self) -> None:
        """Have a thread do the work: one that is idle, or a new one, or the first that has done what it is doing."""
        with self._lock:
            if self._idle:
                self._idle.pop().release()
            elif len(self._threads) < self._most:
                number = len(self._threads)
                thread = threading.Thread(target=self._loop, name=f"{self._name}_{number}", daemon=True)
                self._threads.append(thread)
                thread.start()
            else:
                self._is_wanted = True

    def close(self, wait: bool) -> None:
        """End the threads when they have done the work that there is.

        Args:
            wait: Whether to wait until they have.
        """
        with self._lock:
            self._is_closed = True
            for idle in self._idle:
                idle.release()
            self._idle.clear()
        if wait:
            for thread in self._threads:
                thread.join()

    def _loop(self) -> None:
        mine = threading.Lock()
        mine.acquire()  # released by who wakes the thread
        while True:
            self._work()
            with self._lock:
                if self._is_wanted:
                    self._is_wanted = False
                    continue
                if self._is_closed:
                    return
                self._idle.append(mine)
            mine.acquire()
