"""Calls of a pool whose messages do not arrive: they give way where others wait for their threads, or memory is short.

A caller that gives way gets RESOURCE_EXHAUSTED and why, and may send its request again. From outside of its handler,
grpcio ends a call with a bare CANCELLED; so what it keeps private (`context._rpc_event`) is asked, where there is such.
"""

from collections import Counter
from collections.abc import Callable

import grpc

from rnnserve.server.clock import now
from rnnserve.server.connections.slow_senders import MEMORY_IS_SHORT, SILENT_SECONDS, crowded_first
from rnnserve.server.transport.arriving import Arriving

__all__ = ["LateMessages", "end_call"]

_ENDED_AT_ONCE = 8
"""Calls that are ended between two looks, where others wait for threads."""

_PATIENCE_SECONDS = 2.0
"""Seconds that a message whose bytes keep arriving may take while memory is short."""

_HOPELESS = (
    "the message of this call did not arrive within {seconds:g} s, while other calls waited for its thread; send it "
    "again, with fewer calls at once"
)


class LateMessages:
    """The calls of a pool that wait for a message, and how they are ended. Any thread may use it.

    Attributes:
        receiving: Calls that have a turn to receive their message: since when, on the clock of `clock`.
        silent: Streams that wait for their client: since when.
        arriving: Tells the connections whose bytes keep arriving; None where it is not known.
    """

    def __init__(self, clock: Callable[[], float] = now) -> None:
        """Start without any.

        Args:
            clock: Clock, in seconds.
        """
        self._clock = clock
        self.receiving: dict[grpc.ServicerContext, float] = {}
        self.silent: dict[grpc.ServicerContext, float] = {}
        self.arriving: Arriving | None = None

    def end_silent(self, count: int) -> int:
        """End calls and streams from which nothing comes, since memory is short; say how many.

        First those of connections with most of them. Where bytes keep arriving, a message may take some seconds.

        Args:
            count: Largest number of them.
        """
        at = self._clock()
        waiting = [
            (context, context.peer(), since)
            for context, since in [*list(self.receiving.items()), *list(self.silent.items())]
        ]
        late = [one for one in waiting if one[2] < at - SILENT_SECONDS]
        spared = self._arriving_among(Counter(peer for _, peer, _ in waiting)) if late else set()
        if spared is None:
            return 0
        ended = crowded_first(one for one in late if one[1] not in spared or one[2] < at - _PATIENCE_SECONDS)[:count]
        for context in ended:
            end_call(context, MEMORY_IS_SHORT)
        return len(ended)

    def end_hopeless(self, seconds: float) -> None:
        """End calls of the connection with the most of these, where for so long none of its bytes has arrived."""
        since = self._clock() - seconds
        waiting = [(context, context.peer(), began) for context, began in list(self.receiving.items())]
        counts = Counter(peer for _, peer, _ in waiting)
        spared = self._arriving_among(counts) if any(began < since for *_, began in waiting) else set()
        if spared is None:
            return
        _, most = max(((counts[peer], peer) for peer in counts if peer not in spared), default=(0, ""))
        hopeless = [context for context, peer, began in waiting if began < since and peer == most]
        for context in hopeless[:_ENDED_AT_ONCE]:
            end_call(context, _HOPELESS.format(seconds=seconds))

    def _arriving_among(self, counts: Counter[str]) -> set[str] | None:
        return set() if self.arriving is None else self.arriving.among(counts)


def end_call(
    context: grpc.ServicerContext, words: str, status: grpc.StatusCode = grpc.StatusCode.RESOURCE_EXHAUSTED
) -> None:
    """End a call from outside of its handler: with a status and words, where this grpcio can."""
    try:
        context._rpc_event.call.cancel(status.value[0], words)  # type: ignore[attr-defined]  # noqa: SLF001 - see above
    except AttributeError:
        context.cancel()
