"""How much may wait for a model: so many requests, and so many seconds of work. The connection with most gives way."""

import dataclasses
from typing import NamedTuple, TypeVar

from rnnserve.server.batching.cost import Cost
from rnnserve.server.batching.fair_queue import FairQueue
from rnnserve.server.batching.lateness import seconds_left
from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.clock import now
from rnnserve.server.errors import QueueFull, ServeError, WaitTooLong

__all__ = ["Refusal", "WaitingLimits"]

R = TypeVar("R", bound=PendingRequest)

_BEYOND = 8
"""An eighth of the limits is for connections of which nothing waits, where nothing else may give way to them."""


class Refusal(NamedTuple):
    """A request that has to be refused.

    Attributes:
        request: The one that was to be added, or one that waited, and does no longer.
        error: Why.
    """

    request: PendingRequest
    error: ServeError


@dataclasses.dataclass(frozen=True)
class WaitingLimits:
    """Limits of what waits for one model.

    A limit on the number alone let heavy requests wait for 23 s behind each other. What is refused is told so at once;
    what is admitted is answered in time, or its deadline would have passed anyhow.

    Where a limit is reached, the connection with the most is refused first: a request of another takes the place of the
    newest one of it. Otherwise five connections with 1,000 calls in flight kept a client with one call at a time out.

    Attributes:
        requests: How many may wait.
        seconds: How long what waits may take.
    """

    requests: int
    seconds: float

    def refusal(self, model: str, cost: Cost, queue: FairQueue[R], pending: R) -> Refusal | None:
        """Say which request has to be refused so that one may wait; None where none has. Where nothing waits, any may.

        Args:
            model: The model's name.
            cost: Cost of its runs.
            queue: Queue of the requests that wait for it.
            pending: The request. If it is not the one that is refused, it is to be added with `add_from`.
        """
        count = len(queue)
        if not count:
            return None
        if count >= self.requests:
            full = QueueFull(model, self.requests)
            return self._one_of(queue, pending, full, count < self.requests + self.requests // _BEYOND)
        seconds = cost.seconds_of_queue(queue.points)
        if seconds > self.seconds:
            too_long = WaitTooLong.beyond_limit(model, seconds, self.seconds)
            points = pending.rows * pending.steps
            return self._one_of(queue, pending, too_long, seconds < self.seconds * (1 + 1 / _BEYOND), points)
        remaining = seconds_left(pending.deadline, now())
        if remaining < seconds:
            seconds = cost.seconds_of_queue(queue.points_before(pending.connection))
            if remaining < seconds:
                return Refusal(pending, WaitTooLong.beyond_deadline(model, seconds, remaining))
        return None

    def _one_of(
        self, queue: FairQueue[R], pending: R, error: ServeError, has_room_beyond: bool, least_points: int = 0
    ) -> Refusal | None:
        """Choose between a request and those that wait."""
        displaced = queue.displace(pending, least_points)
        if displaced is not None:
            return Refusal(displaced, error)
        if has_room_beyond and not queue.has_of(pending.connection):
            return None
        return Refusal(pending, error)
