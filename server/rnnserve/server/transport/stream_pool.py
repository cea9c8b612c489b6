"""Threads for streams the public way: each keeps one for as long as it is open, so that there are few.

A connection has half of them at most. Where all are taken, a stream of a connection with fewer takes the place of one
that waits for its client, of the connection with most.
"""

from rnnserve.server.connections.pooled_call import PooledCall
from rnnserve.server.errors import TooManyStreams
from rnnserve.server.lane.open_streams import GAVE_WAY
from rnnserve.server.transport.late_messages import end_call
from rnnserve.server.transport.received_bytes import ReceivedBytes
from rnnserve.server.transport.thread_pool import CallPool
from rnnserve.server.transport.watchdog import Watchdog

__all__ = ["StreamPool"]


class StreamPool(CallPool):
    """Threads that streams keep. Those that are too many are refused at once: none waits for a thread for long."""

    def __init__(self, most: int, watchdog: Watchdog | None = None, received: ReceivedBytes | None = None) -> None:
        """Start with no thread.

        Args:
            most: Number of streams that may be open.
            watchdog: The thread that looks at them; None for one of its own.
            received: Counter of the messages; None for one of its own.
        """
        self._share = (most + 1) // 2
        super().__init__(
            most, most, "stream", TooManyStreams(most), of_connection=self._share, watchdog=watchdog, received=received
        )

    def _refused_for(self, call: PooledCall) -> PooledCall | None:
        connection = call.connection
        own = self._has_thread[connection] + self._window.turns.count_of(connection)
        if own >= self._share or (self.in_hand >= self.capacity and not self._end_one_of_another(own)):
            return call
        return None

    def _end_one_of_another(self, own: int) -> bool:
        """End a stream that waits for its client, of the connection with most, if those are more than one beyond `own`.

        Its thread, which is free then, takes the other one.

        Returns:
            Whether there was one.
        """
        fullest, count = max(self._has_thread.items(), key=lambda one: one[1], default=("", 0))
        if count <= own + 1:
            return False
        waiting = [(since, context) for context, since in list(self.late.silent.items()) if context.peer() == fullest]
        if not waiting:
            return False
        _, context = min(waiting, key=lambda one: one[0])
        self.late.silent.pop(context, None)
        end_call(context, GAVE_WAY)
        return True
