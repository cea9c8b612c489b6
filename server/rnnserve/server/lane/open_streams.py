"""The streams that are open on the lane: how many, of how many connections, and which gives way to another.

A connection has half of them at most. Where as many are open as may be, a stream of a connection with fewer takes the
place of one that waits for its client, of the connection with most: nine connections kept all others out otherwise.
"""

import weakref
from collections import Counter
from collections.abc import Iterator

from rnnserve.server.clock import now
from rnnserve.server.connections.connection_counts import ConnectionCounts
from rnnserve.server.connections.slow_senders import SILENT_SECONDS, crowded_first
from rnnserve.server.errors import TooManyStreams
from rnnserve.server.lane.connection_streams import ConnectionStreams
from rnnserve.server.lane.streams import LaneStream

__all__ = ["GAVE_WAY", "OpenStreams"]

GAVE_WAY = (
    "this stream waited for its client, and gave way to one of another connection: as many are open as may be, "
    "of this connection the most; go on with a new stream"
)
"""What the client of a stream is told that has ended for another one."""

_LOOKED_AT = 8
"""Streams of a connection among which one is looked for that waits for its client. At most 1,024 of its requests are in
hand, so that of many streams most wait."""


class OpenStreams:
    """Streams. The lane's thread changes them; others may iterate over them, and ask for the silent ones.

    Attributes:
        most: How many may be open. Any thread may change it, for those that are opened from then on.
    """

    def __init__(self, most: int) -> None:
        """Start without any.

        Args:
            most: Number of streams that may be open.
        """
        self.most = most
        self._streams: set[LaneStream] = set()
        self._of_connection: dict[str, dict[LaneStream, None]] = {}
        self._counts = ConnectionCounts()
        # As long as one of a connection's streams refers to it.
        self._connections: weakref.WeakValueDictionary[str, ConnectionStreams] = weakref.WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._streams)

    def __iter__(self) -> Iterator[LaneStream]:
        return iter(list(self._streams))

    def connection(self, name: str) -> ConnectionStreams:
        """What the streams of a connection have in common."""
        found = self._connections.get(name)
        if found is None:
            found = self._connections[name] = ConnectionStreams(name)
        return found

    def make_room(self, connection: str) -> LaneStream | None:
        """Make room for a stream of a connection; give the one that has given way to it, which is to be ended.

        Raises:
            TooManyStreams: If it may have no more, or none may give way to it.
        """
        count, share = self._counts.of(connection), (self.most + 1) // 2
        if count >= share:
            raise TooManyStreams(self.most)
        if len(self._streams) < self.most:
            return None
        idle = self._idle_of_another(count)
        if idle is None:
            raise TooManyStreams(self.most)
        self.discard(idle)
        return idle

    def add(self, stream: LaneStream) -> None:
        """Add a stream that has been opened."""
        name = stream.peer()
        self._streams.add(stream)
        self._of_connection.setdefault(name, {})[stream] = None
        self._counts.change(name)

    def discard(self, stream: LaneStream) -> None:
        """Count a stream no longer, unless it is not counted already."""
        if stream not in self._streams:
            return
        name = stream.peer()
        self._streams.discard(stream)
        self._counts.change(name, -1)
        own = self._of_connection[name]
        del own[stream]
        if not own:
            del self._of_connection[name]

    def open_of_connections(self) -> Counter[str]:
        """How many there are, by connection. For any thread."""
        return Counter(stream.peer() for stream in self)

    def silent(self) -> list[LaneStream]:
        """The streams that wait for their clients for a while: those of connections with most of them first."""
        since = now() - SILENT_SECONDS
        silent = [stream for stream in self if stream.is_waiting and stream.heard < since]
        return crowded_first((stream, stream.peer(), stream.heard) for stream in silent)

    def _idle_of_another(self, count: int) -> LaneStream | None:
        """Of the connection with most, if they are more than one beyond `count`: the stream that was silent longest.

        Of a few of them: those that are looked at and not taken are looked at again when all others have been.
        """
        fullest = self._counts.fullest()
        if self._counts.of(fullest) <= count + 1:
            return None
        own = self._of_connection[str(fullest)]
        looked_at = [stream for stream, _ in zip(own, range(_LOOKED_AT), strict=False)]
        for stream in looked_at:
            own[stream] = own.pop(stream)
        idle = [stream for stream in looked_at if stream.is_idle]
        return min(idle, key=lambda stream: stream.heard, default=None)
