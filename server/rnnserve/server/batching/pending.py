"""Pending requests: how each is checked and answered, and when its caller no longer waits for it.

One comparison with `PendingRequest.deadline` decides whether a request is late: it is the earlier of the caller's
deadline and the end of the parameter `timeout`, and minus infinity once the caller has cancelled.
"""

import abc
import math
from collections.abc import Iterable, Mapping
from typing import Protocol

from rnnserve.server.errors import Cancelled, DeadlinePassed, ServeError, TimeoutExpired
from rnnserve.server.observing.origins import Origin
from rnnserve.server.validation.checked_request import Array, CheckedRequest

__all__ = ["PendingRequest", "all_in_time", "earlier", "reason_to_drop"]

_CANCELLED = -math.inf


class PendingRequest(abc.ABC):
    """A request that waits, and how it is answered: exactly once, on the thread that runs it."""

    __slots__ = ("arrived", "deadline", "rows", "steps", "timeout")

    def __init__(self, rows: int, steps: int, deadline: float, arrived: float, timeout: float = math.inf) -> None:
        self.rows = rows
        self.steps = steps  # its longest length, or the size of its sequence axis if its lengths have not been read yet
        self.deadline = deadline  # when it is late, in seconds on the server's clock
        self.arrived = arrived  # on the same clock
        self.timeout = timeout  # seconds of its own timeout if that is what the deadline says, otherwise infinity

    @property
    @abc.abstractmethod
    def connection(self) -> str:
        """Names its connection: the same for all of its requests."""

    @abc.abstractmethod
    def check(self) -> CheckedRequest:
        """Return the checked request, or raise a ServeError. Called once, before the run."""

    @abc.abstractmethod
    def answer(self, outputs: Mapping[str, Array]) -> None:
        """Answer with the outputs asked for, by name, in the request's own shapes."""

    @abc.abstractmethod
    def refuse(self, error: ServeError) -> None:
        """Answer with an error. Also called after `answer` if that raised."""

    @abc.abstractmethod
    def origin(self) -> Origin:
        """Say where it comes from; before it is answered."""

    def cancel(self) -> None:
        """Note that the caller has cancelled: the request need not be run."""
        self.deadline = _CANCELLED


class _HasDeadline(Protocol):
    @property
    def deadline(self) -> float: ...


def earlier(deadline: float, arrived: float, timeout: float) -> tuple[float, float]:
    """Return `deadline` and `timeout` of a pending request, from its caller's deadline and its parameter's seconds."""
    end = arrived + timeout
    return (end, timeout) if end < deadline else (deadline, math.inf)


def all_in_time(requests: Iterable[_HasDeadline], at: float) -> bool:
    """Whether none of these is late at a time."""
    for request in requests:  # noqa: SIM110 - `all` would take a call for each of them
        if request.deadline < at:
            return False
    return True


def reason_to_drop(request: PendingRequest, at: float, *, has_begun: bool = False) -> ServeError | None:
    """Return why a request need not be run, or run on if it has begun. A timeout is for the wait, and ends no run."""
    if not request.deadline < at:
        return None
    before = "answered" if has_begun else "run"
    if request.deadline == _CANCELLED:
        return Cancelled(f"the request was cancelled before it was {before}")
    if request.timeout == math.inf:
        return DeadlinePassed(f"the deadline passed before the request was {before}")
    return None if has_begun else TimeoutExpired(request.timeout)
