"""A request that waits to be run: the last of its three stages, after arrival and the boundary."""

import abc
from collections.abc import Mapping

from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.errors import Cancelled, DeadlinePassed, ServeError

__all__ = ["PendingRequest"]


class PendingRequest(abc.ABC):
    """A request that waits, and how it is answered: exactly once, on the thread that runs it.

    Attributes:
        rows: Size of its batch axis.
        steps: Its longest length, or the size of its sequence axis where its lengths have not been read yet.
        deadline: When its caller stops waiting, in seconds on the clock of `batching.clock`.
        arrived: When it arrived, in seconds on the same clock.
        is_cancelled: Whether its caller is known to have cancelled.
        may_be_displaced: Whether it may be refused in favour of another connection's, although it waits already.
    """

    may_be_displaced = True

    __slots__ = ("arrived", "deadline", "is_cancelled", "rows", "steps")

    def __init__(self, rows: int, steps: int, deadline: float, arrived: float) -> None:
        self.rows = rows
        self.steps = steps
        self.deadline = deadline
        self.arrived = arrived
        self.is_cancelled = False

    @property
    @abc.abstractmethod
    def connection(self) -> str:
        """Names its connection: the same for all of its requests."""

    @abc.abstractmethod
    def check(self) -> CheckedRequest:
        """Give the checked request. Called once, before the run.

        Raises:
            ServeError: If the request does not pass the boundary.
        """

    @abc.abstractmethod
    def answer(self, outputs: Mapping[str, Array]) -> None:
        """Answer with the outputs asked for, by name, in the request's own shapes."""

    @abc.abstractmethod
    def refuse(self, error: ServeError) -> None:
        """Answer with an error. Called after `answer` too, where that raised."""

    def cancel(self) -> None:
        """Note that the caller has cancelled: the request need not be run."""
        self.is_cancelled = True

    def reason_to_drop(self, now: float) -> ServeError | None:
        """Say why the request need not be run any more, or None where it has to be.

        Args:
            now: In seconds on the clock of `batching.clock`.
        """
        if self.is_cancelled:
            return Cancelled("the request was cancelled before it was run")
        if self.deadline < now:
            return self.reason_it_is_late()
        return None

    def reason_it_is_late(self) -> ServeError:
        """Say what was to be met: the caller's deadline, unless the request has a time-out of its own."""
        return DeadlinePassed("the deadline passed before the request was run")
