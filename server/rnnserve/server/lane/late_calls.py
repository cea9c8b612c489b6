"""Calls and streams of the lane whose messages do not arrive: they give way where memory is short."""

import time
from collections import Counter
from collections.abc import Collection

from rnnserve.server.connections.slow_senders import MEMORY_IS_SHORT, SILENT_SECONDS
from rnnserve.server.lane.arrived_requests import LaneCall
from rnnserve.server.lane.open_streams import OpenStreams

__all__ = ["LateCalls"]

_STREAMS_A_CALL = 8
"""Streams that are ended for each call that might be: which of them hold the memory is not known."""


class LateCalls:
    """The calls and streams of a lane that wait for a message. For other threads than the lane's."""

    def __init__(self, unfinished: Collection[LaneCall], streams: OpenStreams, status: object) -> None:
        """Take what the lane changes meanwhile.

        Args:
            unfinished: Calls whose message is being received, in the order of their arrival.
            streams: The streams that are open.
            status: RESOURCE_EXHAUSTED, as grpcio's core names it.
        """
        self._unfinished = unfinished
        self._streams = streams
        self._status = status

    @property
    def is_receiving(self) -> bool:
        """Whether the message of a call has not arrived yet."""
        return bool(self._unfinished)

    @property
    def has_streams(self) -> bool:
        """Whether streams are open, on any of which a message may be arriving."""
        return len(self._streams) > 0

    def receiving(self) -> Counter[str]:
        """How many messages may be arriving, by connection: of calls, and of streams."""
        return self._streams.open_of_connections() + Counter(call.peer() for call in list(self._unfinished))

    def end_unfinished(self) -> None:
        """End all calls whose message is being received: one of these messages was lost."""
        for call in list(self._unfinished):
            call.call.cancel(self._status, MEMORY_IS_SHORT)

    def end_silent(self, count: int) -> int:
        """End calls whose message does not arrive within a while, the oldest first.

        Where there are none, streams from which nothing comes are ended, first those of connections that have most of
        them: what has arrived of a message is not known before all of it has.

        Args:
            count: Largest number of calls; eight times as many streams.

        Returns:
            How many.
        """
        before = list(self._unfinished)
        if before:
            time.sleep(SILENT_SECONDS)
        late = [call for call in before if call in self._unfinished][:count]
        for call in late:
            call.call.cancel(self._status, MEMORY_IS_SHORT)
        streams = [] if late else self._streams.silent()[: _STREAMS_A_CALL * count]
        for stream in streams:
            stream.cancel(self._status, MEMORY_IS_SHORT)
        return len(late) + len(streams)
