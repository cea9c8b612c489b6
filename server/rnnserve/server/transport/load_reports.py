"""ORCA's load reports: how busy this server is, for clients that balance by it (gRPC's `weighted_round_robin`).

A client opens one stream to each server and is told each second or so; its requests carry nothing more. It sends each
server requests in proportion to the requests a second over the utilisation that the server reports: what one core's
time is worth there, and how many cores there are. Sources: gRPC's proposals A51 (reports out of band) and A58 (the
policy); the messages are `xds.data.orca.v3.OrcaLoadReport` and `xds.service.orca.v3.OrcaLoadReportRequest`, of which
three numbers are written and one is read here, so that no other package's descriptors of them are in the way.
"""

import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError

from rnnserve.common.cgroup import usable_cores
from rnnserve.server.clock import now
from rnnserve.server.counting.places import ANSWERED
from rnnserve.server.counting.table import used_table
from rnnserve.server.errors import InvalidRequest

__all__ = ["LOAD_REPORT_SERVICE", "LoadReports"]

LOAD_REPORT_SERVICE = "xds.service.orca.v3.OpenRcaService"

_SHORTEST_SECONDS, _LONGEST_SECONDS = 1.0, 60.0
"""Between two reports: a client may ask for any time; A51 has servers bound it."""

_CPU_UTILIZATION, _RPS, _APPLICATION_UTILIZATION = (number << 3 | 1 for number in (1, 6, 9))
"""The fields' tags: three numbers of 8 bytes."""

_INTERVAL_TAG = 1 << 3 | 2


class LoadReports:
    """Tells clients of the load, as long as they want it."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = now,
        busy: Callable[[], float] | None = None,
        answered: Callable[[], float] | None = None,
        cores: int | None = None,
    ) -> None:
        """Prepare.

        Args:
            clock: Clock, in seconds.
            busy: Function that gives the seconds for which this process has wanted a core; None to ask the kernel.
            answered: Function that gives how many requests it has answered; None to ask the table of counts.
            cores: Number of cores that it may use; None for `usable_cores`.
        """
        self._clock = clock
        self._busy = busy or _seconds_wanted
        self._answered = answered or _requests_answered
        self._cores = cores or usable_cores()
        self._is_over = False
        self._open: set[threading.Event] = set()  # each set when its stream has to end

    def shut_down(self) -> None:
        """End the streams, since the server is stopping."""
        self._is_over = True
        for ended in list(self._open):
            ended.set()

    def stream(self, payload: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        """Answer StreamCoreMetrics: a report after each interval, until the call ends.

        Raises:
            InvalidRequest: If the bytes are no request.
        """
        seconds = min(max(_read_interval(payload), _SHORTEST_SECONDS), _LONGEST_SECONDS)
        ended = threading.Event()
        self._open.add(ended)
        try:
            if self._is_over or not context.add_callback(ended.set):
                return
            before = self._look()
            while not ended.wait(seconds):
                after = self._look()
                took, busy, answered = (new - old for new, old in zip(after, before, strict=True))
                before = after
                yield _report(min(busy / took / self._cores, 1.0), answered / took)
        finally:
            self._open.discard(ended)

    def _look(self) -> tuple[float, float, float]:
        return self._clock(), self._busy(), self._answered()


def _report(utilization: float, requests_a_second: float) -> bytes:
    fields = (_CPU_UTILIZATION, utilization), (_RPS, requests_a_second), (_APPLICATION_UTILIZATION, utilization)
    return b"".join(bytes((tag,)) + struct.pack("<d", value) for tag, value in fields)


def _read_interval(payload: bytes) -> float:
    """Read `report_interval`, the request's first field; 0 where there is none."""
    if payload[:1] != bytes((_INTERVAL_TAG,)):
        return 0.0
    size, interval = payload[1] if len(payload) > 1 else 1, Duration()
    try:
        interval.ParseFromString(payload[2 : 2 + size])
        is_whole = len(payload) >= 2 + size
    except DecodeError:
        is_whole = False
    if not is_whole:
        raise InvalidRequest("not an xds.service.orca.v3.OrcaLoadReportRequest")
    return float(interval.seconds + interval.nanos / 1e9)


def _requests_answered() -> float:
    return sum(row.counts[ANSWERED] for row in used_table().rows() if row.model)


def _seconds_wanted() -> float:
    """The seconds for which threads of this process have had a core, or waited for one while others had it."""
    nanoseconds = 0
    for thread in Path("/proc/self/task").iterdir():
        try:
            ran, waited, _ = (thread / "schedstat").read_text().split()
        except (OSError, ValueError):  # the thread has ended, or this kernel counts nothing
            continue
        nanoseconds += int(ran) + int(waited)
    return nanoseconds / 1e9
