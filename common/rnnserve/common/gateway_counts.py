"""What a process of the HTTP gateway counts itself, in memory that its server reads.

The server makes the memory of each process, and a process that replaces another one goes on with it. A gateway that was
started otherwise counts where no one reads.
"""

import mmap
import os

__all__ = ["ENDED", "NUMBERS", "REFUSED", "TLS_RELOADS", "GatewayCounts", "use_gateway_counts", "used_gateway_counts"]

_STATUSES = (400, 401, 403, 404, 405, 408, 411, 412, 413, 414, 415, 421, 422, 429, 431, 500, 501, 503, 504, 505)
REFUSED = {str(status): place for place, status in enumerate((*_STATUSES, "other"))}
"""The place of each number: refusals by their status, and "other" for all other statuses."""

ENDED = {reason: len(REFUSED) + place for place, reason in enumerate(("late", "gave_way", "too_many", "tls_handshake"))}
"""Why connections were ended: their client was late, another one needed the place, there was no place, or the TLS
handshake failed."""

TLS_RELOADS = {outcome: len(REFUSED) + len(ENDED) + place for place, outcome in enumerate(("ready", "refused"))}
"""What became of new files for TLS."""

NUMBERS = len(REFUSED) + len(ENDED) + len(TLS_RELOADS)

_SIZE = 4096


class GatewayCounts:
    """Numbers of one process, which adds to them on one thread. Another process may read."""

    def __init__(self, fd: int | None = None) -> None:
        """Make memory, or open the memory behind a descriptor of another process, which stays open."""
        if fd is None:
            fd = os.memfd_create("rnnserve-gateway-counts")
            os.ftruncate(fd, _SIZE)
        self.descriptor = fd
        if os.fstat(fd).st_size != _SIZE:
            raise ValueError("this is not memory for the counts of an HTTP gateway")
        self._numbers = memoryview(mmap.mmap(fd, _SIZE)).cast("d")

    def count_refusal(self, status: int) -> None:
        """Count a request that the gateway refuses itself."""
        self._numbers[REFUSED.get(str(status), REFUSED["other"])] += 1

    def count_end(self, reason: str) -> None:
        """Count a connection that was ended for one of the reasons."""
        self._numbers[ENDED[reason]] += 1

    def count_tls_reload(self, outcome: str) -> None:
        """Count new files for TLS, by what became of them."""
        self._numbers[TLS_RELOADS[outcome]] += 1

    def numbers(self) -> list[float]:
        """All numbers, in the order of their places."""
        return list(self._numbers[:NUMBERS])


_used: list[GatewayCounts] = []


def use_gateway_counts(counts: GatewayCounts) -> None:
    """Have this process count there."""
    _used[:] = [counts]


def used_gateway_counts() -> GatewayCounts:
    """Where this process counts."""
    if not _used:
        _used.append(GatewayCounts())
    return _used[0]
