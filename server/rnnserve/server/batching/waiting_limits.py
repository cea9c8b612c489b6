"""How much may wait for a model: so many requests, and so many seconds of work."""

import dataclasses
from typing import Any

from rnnserve.server.batching.clock import now
from rnnserve.server.batching.cost import Cost
from rnnserve.server.batching.fair_queue import FairQueue
from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.errors import QueueFull, ServeError, WaitTooLong

__all__ = ["WaitingLimits"]


@dataclasses.dataclass(frozen=True)
class WaitingLimits:
    """Limits of what waits for one model.

    A limit on the number alone let heavy requests wait for 23 s behind each other. What is refused hears so at once;
    what is admitted is answered in time, or its deadline would have passed anyhow.

    Attributes:
        requests: How many may wait.
        seconds: How long what waits may take.
    """

    requests: int
    seconds: float

    def reason_to_refuse(
        self, model: str, cost: Cost, queue: FairQueue[Any], pending: PendingRequest
    ) -> ServeError | None:
        """Say why a request may not wait, or None where it may. Where nothing waits, any may.

        Args:
            model: The model's name.
            cost: What its runs cost.
            queue: What waits for it.
            pending: The request.
        """
        if not queue:
            return None
        if len(queue) >= self.requests:
            return QueueFull(model, self.requests)
        seconds = cost.seconds_of_queue(queue.points)
        if seconds > self.seconds:
            return WaitTooLong.beyond_limit(model, seconds, self.seconds)
        remaining = pending.deadline - now()
        if 0 < remaining < seconds:  # one whose deadline has passed is dropped, and counted, by its run
            return WaitTooLong.beyond_deadline(model, seconds, remaining)
        return None
