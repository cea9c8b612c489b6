"""Counters of the requests that an HTTP gateway process refused, in memory that its server reads.

The server creates the memory of each process. A process that replaces another one continues its counts. If a gateway
was started in another way, nobody reads its counts.
"""

import mmap
import os
from http import HTTPStatus

__all__ = ["REFUSED", "GatewayCounts"]

_STATUSES = (*(str(each.value) for each in HTTPStatus if each >= 400), "other")
REFUSED = {status: place for place, status in enumerate(_STATUSES)}
"""The index of each counter, by status, and "other" for all other statuses."""

_SIZE = 4096


class GatewayCounts:
    """Counters of one process. Only one thread may add to them; other processes may read them."""

    def __init__(self, fd: int | None = None) -> None:
        """Create the memory, or open the memory of another process's descriptor, which stays open."""
        if fd is None:
            fd = os.memfd_create("rnnserve-gateway-counts")
            os.ftruncate(fd, _SIZE)
        self.descriptor = fd
        self._numbers = memoryview(mmap.mmap(fd, _SIZE)).cast("d")

    def count_refusal(self, status: int) -> None:
        """Count a refused request."""
        self._numbers[REFUSED.get(str(status), REFUSED["other"])] += 1

    def numbers(self) -> list[float]:
        """Return all counters, by index."""
        return list(self._numbers[: len(REFUSED)])
