"""Lateness: which requests need not be run any more, and what their callers are told. Both transports ask here.

A request is late when its caller has cancelled it, when its caller's deadline has passed, or when it has waited for
longer than its parameter `timeout` says. To tell all three takes one comparison: a request has one time after which it
is late, the earlier of its deadline and the end of its time-out, and once it was cancelled it is late at any time.
"""

import math
from collections.abc import Iterable
from typing import Literal, Protocol

from rnnserve.server.errors import Cancelled, DeadlinePassed, ServeError, TimeoutExpired

__all__ = [
    "CANCELLED",
    "all_in_time",
    "cancelled",
    "check_unread",
    "earlier",
    "reason_to_drop",
    "reason_to_stop",
    "seconds_left",
]

CANCELLED = -math.inf
"""The deadline of a request whose caller has cancelled."""


class _HasDeadline(Protocol):
    @property
    def deadline(self) -> float: ...


class _HasTimeout(_HasDeadline, Protocol):
    @property
    def timeout(self) -> float: ...


def earlier(deadline: float, arrived: float, timeout: float) -> tuple[float, float]:
    """When a request is late, and the time-out that says so: infinity where its caller's deadline does.

    Args:
        deadline: The caller's deadline, in seconds on the server's clock.
        arrived: Time of its arrival, on the same clock.
        timeout: Seconds that it may wait for its run; infinity for no such limit.
    """
    end = arrived + timeout
    return (end, timeout) if end < deadline else (deadline, math.inf)


def all_in_time(requests: Iterable[_HasDeadline], at: float) -> bool:
    """Whether none of these is late at a time."""
    for request in requests:  # noqa: SIM110 - `all` would take a call for each of them
        if request.deadline < at:
            return False
    return True


def seconds_left(deadline: float, at: float) -> float:
    """Seconds from a time to a deadline; infinity where that has passed: what is late its run drops, and counts."""
    return math.inf if deadline < at else deadline - at


def check_unread(deadline: float, at: float) -> None:
    """Refuse a request that has not been read yet where it is late.

    Raises:
        DeadlinePassed: If it is.
    """
    if deadline < at:
        raise _passed("read")


def reason_to_drop(request: _HasTimeout, at: float) -> ServeError | None:
    """Say why a request that waits need not be run any more; None where it has to be.

    Args:
        request: The request, with its `deadline` and `timeout` as `earlier` gives them.
        at: A time, in seconds on the server's clock.
    """
    if not request.deadline < at:
        return None
    if request.deadline == CANCELLED:
        return cancelled("run")
    return _passed("run") if request.timeout == math.inf else TimeoutExpired(request.timeout)


def reason_to_stop(request: _HasTimeout, at: float) -> ServeError | None:
    """Say why a request whose run has begun, and goes on by steps, need not go on; None where it has to.

    Args:
        request: The request. Its time-out was for its wait, so that it ends no run.
        at: A time, in seconds on the server's clock.
    """
    if not request.deadline < at:
        return None
    if request.deadline == CANCELLED:
        return cancelled("answered")
    return _passed("answered") if request.timeout == math.inf else None


def cancelled(before: Literal["read", "run", "answered"]) -> Cancelled:
    """Say that a request was cancelled before something was done with it."""
    return Cancelled(f"the request was cancelled before it was {before}")


def _passed(before: Literal["read", "run", "answered"]) -> DeadlinePassed:
    return DeadlinePassed(f"the deadline passed before the request was {before}")
