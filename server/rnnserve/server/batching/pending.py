"""A request that waits to be run: the last of its three stages, after arrival and the boundary."""

import abc
import math
from collections.abc import Mapping

from rnnserve.server.batching.lateness import CANCELLED
from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.errors import ServeError
from rnnserve.server.observing.origins import Origin

__all__ = ["PendingRequest"]


class PendingRequest(abc.ABC):
    """A request that waits, and how it is answered: exactly once, on the thread that runs it.

    Attributes:
        rows: Size of its batch axis.
        steps: Its longest length, or the size of its sequence axis where its lengths have not been read yet.
        deadline: When it is late (`lateness`), in seconds on the server's clock.
        timeout: Seconds of its own time-out where that is what the deadline says, else infinity.
        arrived: When it arrived, in seconds on the same clock.
    """

    __slots__ = ("arrived", "deadline", "rows", "steps", "timeout")

    def __init__(self, rows: int, steps: int, deadline: float, arrived: float, timeout: float = math.inf) -> None:
        self.rows = rows
        self.steps = steps
        self.deadline = deadline
        self.arrived = arrived
        self.timeout = timeout

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

    @abc.abstractmethod
    def origin(self) -> Origin:
        """Say where it comes from; before it is answered."""

    def cancel(self) -> None:
        """Note that the caller has cancelled: the request need not be run."""
        self.deadline = CANCELLED
