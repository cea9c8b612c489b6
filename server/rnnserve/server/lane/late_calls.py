"""How many messages the lane receives at once; and those that do not arrive give way where memory is short."""

import time
from collections import Counter
from collections.abc import Collection

from rnnserve.server.connections.receive_window import ReceiveWindow
from rnnserve.server.connections.slow_senders import MEMORY_IS_SHORT, SILENT_SECONDS
from rnnserve.server.lane.arrived_requests import LaneCall
from rnnserve.server.lane.open_streams import OpenStreams

__all__ = ["LATE_SECONDS", "LateCalls", "receive_window"]

_RECEIVING, _RECEIVING_AFTER_LARGE = 12, 2
"""Messages that the lane receives at once, and after a large one. Usual ones have arrived with their calls, so that
receiving one takes a turn of the loop, whatever this number. A large one blocks the loop: before the next, the sockets
are looked at. Beyond it: the next wait, connections in turn, and are received beside those that do not arrive."""

LATE_SECONDS = 50e-3
"""Seconds without any event after which others are received beside those whose messages do not arrive."""

_IN_ORDER = 256
"""Calls that may wait in the order of their arrival to be received; where there are more, connections take turns."""

_STREAMS_A_CALL = 8
"""Streams that are ended for each call that might be: which of them hold the memory is not known."""


def receive_window() -> ReceiveWindow[LaneCall]:
    """Make the window in which a lane receives the messages of its calls."""
    return ReceiveWindow(_RECEIVING, _RECEIVING_AFTER_LARGE, LATE_SECONDS, in_order=_IN_ORDER)


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
