"""A server's resident memory, sampled while it is attacked: of its process and of the processes that it started."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["ResidentMemory", "resident_bytes", "settles_below"]

_EVERY = 0.02
"""Seconds between two samples: what is allocated for less may be missed."""


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and of its descendants, in bytes; 0 where it has ended."""
    total = 0
    waiting = [pid]
    while waiting:
        process = Path(f"/proc/{waiting.pop()}")
        try:
            status = (process / "status").read_text()
            for task in (process / "task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))
    return total


def settles_below(resident: Callable[[], int], most: int, seconds: float = 10.0) -> bool:
    """Whether memory falls below so many bytes within some seconds."""
    deadline = time.monotonic() + seconds
    while resident() >= most:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


class ResidentMemory:
    """Samples in a thread of its own, in a `with`.

    Attributes:
        before: Bytes at its start.
        peak: The most that was seen, in bytes.
        after: Bytes at its end.
    """

    def __init__(self, pid: int | None) -> None:
        """Watch a process; with None all figures are 0."""
        self._pid = pid
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.before = self.peak = self.after = 0

    def __enter__(self) -> "ResidentMemory":
        self.before = self.peak = self._now()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self.after = self._now()
        self.peak = max(self.peak, self.after)

    def _sample(self) -> None:
        while self._pid is not None and not self._is_over.wait(_EVERY):
            self.peak = max(self.peak, self._now())

    def _now(self) -> int:
        return 0 if self._pid is None else resident_bytes(self._pid)
