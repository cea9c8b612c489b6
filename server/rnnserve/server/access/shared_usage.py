"""What workers share of the requests of tokens with limits: numbers in memory that all of them see.

Each process writes numbers of its own, whole, and reads those of all: no request waits for another process, and one
that dies takes nothing with it. Of two workers that look in the same moment, both may let a request in where only one
was left: a limit may be passed by as many requests as there are other workers, and no more.

The memory has a line for each name. A name gets its line under a lock of the kernel, which a process that dies lets go:
that is when a file of tokens is read, and no request's concern.
"""

import fcntl
import hashlib
import logging
import mmap
import os
import threading
from typing import Self

__all__ = ["SharedNumbers", "UsageMemory", "usage_places", "use_usage_memory", "used_usage_memory"]

_log = logging.getLogger(__name__)

_LINES = 8192
"""Names of tokens with limits that there may be, from the start of the server on. Memory is taken by those that are
there: 24 bytes a process of each."""

_NAME_BYTES = 16
_HEAD = 4096
_PER_PROCESS = 3


def usage_places(workers: int) -> int:
    """Say for how many processes there is to be room: after restarts, for those that are leaving, too."""
    return 4 * workers + 8


class SharedNumbers:
    """The numbers of one name: this process's own, and those of the others."""

    __slots__ = ("_at", "_bytes_until", "_in_flight", "_until")

    def __init__(self, line: "memoryview[float]", process: int) -> None:
        """Look at a line.

        Args:
            line: Numbers (processes * 3), float64: of each process until, bytes until, in flight.
            process: Number of this process, from 0.
        """
        self._at = process
        self._until = line[0::_PER_PROCESS]
        self._bytes_until = line[1::_PER_PROCESS]
        self._in_flight = line[2::_PER_PROCESS]

    @classmethod
    def alone(cls) -> Self:
        """Make numbers that no other process sees."""
        return cls(memoryview(bytearray(8 * _PER_PROCESS)).cast("d"), 0)

    @property
    def until(self) -> float:
        """Until when what this process let in has paid for itself, in seconds on the clock of `clock`."""
        return self._until[self._at]

    @until.setter
    def until(self, seconds: float) -> None:
        self._until[self._at] = seconds

    @property
    def bytes_until(self) -> float:
        """The same of bytes."""
        return self._bytes_until[self._at]

    @bytes_until.setter
    def bytes_until(self, seconds: float) -> None:
        self._bytes_until[self._at] = seconds

    @property
    def in_flight(self) -> float:
        """How many requests of this process are in flight."""
        return self._in_flight[self._at]

    @in_flight.setter
    def in_flight(self, count: float) -> None:
        self._in_flight[self._at] = count

    def latest_until(self) -> float:
        """The latest `until` of all processes."""
        return max(self._until)

    def latest_bytes_until(self) -> float:
        """The latest `bytes_until` of all processes."""
        return max(self._bytes_until)

    def all_in_flight(self) -> float:
        """How many requests are in flight, of all processes."""
        return sum(self._in_flight)


class UsageMemory:
    """Memory for the numbers of all names, made by a supervisor, which gives each worker its descriptor and a number.

    Attributes:
        descriptor: Descriptor of the memory.
    """

    def __init__(self, processes: int, descriptor: int | None = None, process: int = 0) -> None:
        """Make the memory, or see what another process has made.

        Args:
            processes: Number of processes that there is room for.
            descriptor: Descriptor of what was made; None makes it.
            process: Number of this process, from 0; of a supervisor, which counts nothing, any.

        Raises:
            ValueError: If what was made has room for another number of processes.
        """
        line_bytes = 8 * _PER_PROCESS * processes
        self._numbers_at = _HEAD + _LINES * _NAME_BYTES
        size = self._numbers_at + _LINES * line_bytes
        if descriptor is None:
            descriptor = os.memfd_create("rnnserve-usage")
            os.ftruncate(descriptor, size)  # takes no memory until it is written to
        elif os.fstat(descriptor).st_size != size:
            raise ValueError("this memory of limits is of another release")
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, size)
        self._view = memoryview(self._memory)
        self._line_bytes = line_bytes
        self._process = process
        self._free = list(range(processes))
        self._lock = threading.Lock()
        self._lines: dict[bytes, int] = {}
        self._is_full = False

    @property
    def processes(self) -> int:
        """Number of processes that there is room for."""
        return self._line_bytes // (8 * _PER_PROCESS)

    def numbers_of(self, name: str) -> SharedNumbers | None:
        """Give the numbers of a name; None where there is no line left, and each worker counts for itself."""
        key = hashlib.sha256(name.encode()).digest()[:_NAME_BYTES]
        with self._lock:
            line = self._lines.get(key)
            if line is None:
                fcntl.lockf(self.descriptor, fcntl.LOCK_EX)
                try:
                    line = self._line_of(key)
                finally:
                    fcntl.lockf(self.descriptor, fcntl.LOCK_UN)
            if line is None:
                return None
            start = self._numbers_at + line * self._line_bytes
            return SharedNumbers(self._view[start : start + self._line_bytes].cast("d"), self._process)

    def take_place(self) -> int | None:
        """Give a process a number that no other has; None, with a word, where there is none. For the supervisor."""
        if self._free:
            return self._free.pop(0)
        _log.error("more workers run than can share the limits of tokens: one that starts now counts for itself")
        return None

    def leave_place(self, process: int) -> None:
        """Note that a process has ended: none of its requests is in flight any more. For the supervisor."""
        for line in range(self._count):
            at = self._numbers_at + line * self._line_bytes + 8 * (_PER_PROCESS * process + 2)
            self._view[at : at + 8].cast("d")[0] = 0.0
        self._free.append(process)

    @property
    def _count(self) -> int:
        """How many lines are taken."""
        return int.from_bytes(self._memory[:8], "little")

    def _line_of(self, key: bytes) -> int | None:
        """Find the line of a name, or take one for it. With the kernel's lock."""
        count = self._count
        for line in range(len(self._lines), count):  # those that this process has not seen
            start = _HEAD + line * _NAME_BYTES
            self._lines[bytes(self._memory[start : start + _NAME_BYTES])] = line
        if key not in self._lines:
            if count >= _LINES:
                if not self._is_full:
                    self._is_full = True
                    _log.error(
                        "more than %d tokens with limits since the start: those that are new are limited by each "
                        "worker for itself, until the server is started again",
                        _LINES,
                    )
                return None
            start = _HEAD + count * _NAME_BYTES
            self._memory[start : start + _NAME_BYTES] = key
            self._memory[:8] = (count + 1).to_bytes(8, "little")
            self._lines[key] = count
        return self._lines[key]


_used: list[UsageMemory] = []


def use_usage_memory(memory: UsageMemory) -> None:
    """Have this process share limits, or give out the places to do so. Before the file of tokens is read."""
    _used[:] = [memory]


def used_usage_memory() -> UsageMemory | None:
    """What this process shares; None where it counts alone."""
    return _used[0] if _used else None
