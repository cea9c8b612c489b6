"""Counters of an HTTP gateway process, in memory that its server reads.

The server creates the memory of each process. A process that replaces another one continues its counts. If a gateway
was started in another way, nobody reads its counts.
"""

import mmap
import os

__all__ = ["ENDED", "NUMBERS", "REFUSED", "TLS_RELOADS", "GatewayCounts", "use_gateway_counts", "used_gateway_counts"]

_STATUSES = (400, 401, 403, 404, 405, 408, 411, 412, 413, 414, 415, 421, 422, 429, 431, 500, 501, 503, 504, 505)
REFUSED = {str(status): place for place, status in enumerate((*_STATUSES, "other"))}
"""The index of each counter of refused requests, by status, and "other" for all other statuses."""

ENDED = {reason: len(REFUSED) + place for place, reason in enumerate(("late", "gave_way", "too_many", "tls_handshake"))}
"""The index of each counter of closed connections: the client was late, the connection made room for another one, there
were too many, or the TLS handshake failed."""

TLS_RELOADS = {outcome: len(REFUSED) + len(ENDED) + place for place, outcome in enumerate(("ready", "refused"))}
"""The index of each counter of new TLS files, by outcome."""

NUMBERS = len(REFUSED) + len(ENDED) + len(TLS_RELOADS)

_SIZE = 4096


class GatewayCounts:
    """Counters of one process. Only one thread may add to them; other processes may read them."""

    def __init__(self, fd: int | None = None) -> None:
        """Create the memory, or open the memory of another process's descriptor, which stays open."""
        if fd is None:
            fd = os.memfd_create("rnnserve-gateway-counts")
            os.ftruncate(fd, _SIZE)
        self.descriptor = fd
        if os.fstat(fd).st_size != _SIZE:
            raise ValueError("the shared memory does not hold the counts of an HTTP gateway")
        self._numbers = memoryview(mmap.mmap(fd, _SIZE)).cast("d")

    def count_refusal(self, status: int) -> None:
        """Count a request that the gateway refused."""
        self._numbers[REFUSED.get(str(status), REFUSED["other"])] += 1

    def count_end(self, reason: str) -> None:
        """Count a closed connection by its reason, a key of `ENDED`."""
        self._numbers[ENDED[reason]] += 1

    def count_tls_reload(self, outcome: str) -> None:
        """Count new TLS files by outcome."""
        self._numbers[TLS_RELOADS[outcome]] += 1

    def numbers(self) -> list[float]:
        """Return all counters, by index."""
        return list(self._numbers[:NUMBERS])


_used: list[GatewayCounts] = []


def use_gateway_counts(counts: GatewayCounts) -> None:
    """Make this process count in `counts`."""
    _used[:] = [counts]


def used_gateway_counts() -> GatewayCounts:
    """Return the counters of this process."""
    if not _used:
        _used.append(GatewayCounts())
    return _used[0]
