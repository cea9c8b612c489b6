"""What the machine, or the container, gives a server: threads, files, memory, cores, and the time."""

import ctypes
import datetime as dt
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

from rnnserve.common.cgroup import Cgroups, usable_cores
from rnnserve.server.examining.finding import OK, PROBLEM, WARNING, Finding
from rnnserve.server.process.start_check import check_room
from rnnserve.server.settings import Settings

__all__ = ["clock", "cores", "files", "threads"]

_FEW_FILES = 1024

_TIME_ERROR = 5
"""What adjtimex(2) answers of a clock that nothing keeps right."""

_TIMEX_BYTES = 1024


def threads() -> Iterator[Finding]:
    """Whether a server may start its threads.

    Raises:
        StartError: If it may not.
    """
    check_room()
    limit, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    said = "no limit" if limit == resource.RLIM_INFINITY else f"a limit of {limit:,} (ulimit -u)"
    yield Finding(OK, "threads", f"a server may start its threads; {said}")


def files() -> Iterator[Finding]:
    """How many files may be open: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        yield Finding(OK, "files", "there is no limit on open files")
        return
    said = f"{soft:,} files may be open (ulimit -n), of which each connection is one"
    may_be = "without limit" if hard == resource.RLIM_INFINITY else f"up to {hard:,}"
    if soft < _FEW_FILES:
        yield Finding(WARNING, "files", said, f"raise it for more connections (ulimit -n; {may_be} without root)")
    else:
        yield Finding(OK, "files", said)


def cores(settings: Settings, workers: int) -> Iterator[Finding]:
    """How many cores there are for the threads of runs."""
    have, seen, quota = usable_cores(), len(os.sched_getaffinity(0)), Cgroups().cores()
    said = f"{seen} to be used" + ("" if quota is None else f", of which a quota (cgroup) gives the time of {quota:g}")
    wanted = workers * settings.threads
    if wanted > have:
        remedy = f"--workers and --threads make {wanted} threads of runs: let them be {have} together"
        yield Finding(WARNING, "cores", said, remedy)
    else:
        yield Finding(OK, "cores", said)


def clock() -> Iterator[Finding]:
    """Whether the clock can be right: certificates, and the states of sessions, are good until a time."""
    now = time.time()
    said = f"it is {dt.datetime.fromtimestamp(now, dt.UTC).isoformat(timespec='seconds')}"
    if now < Path(__file__).stat().st_mtime:
        remedy = "set it; with it, certificates are judged and states of sessions become too old"
        yield Finding(PROBLEM, "clock", f"{said} by the clock, before this package was installed", remedy)
    elif _is_unsynchronised():
        yield Finding(
            WARNING, "clock", f"{said}, and nothing keeps the clock right", "run chrony or another client of NTP"
        )
    else:
        yield Finding(OK, "clock", said)


def _is_unsynchronised() -> bool:
    """Whether the kernel says that nothing keeps the clock right; False where it does not tell."""
    try:
        return bool(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)) == _TIME_ERROR)
    except (AttributeError, OSError):
        return False
