"""Streams that arrive on the lane: begun, or refused."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from rnnserve.server.access.gate import Gate, Grant
from rnnserve.server.clock import from_wall_clock
from rnnserve.server.connections.private_socket import is_private
from rnnserve.server.errors import ServeError, Unsupported
from rnnserve.server.lane.arrived_requests import LaneCall
from rnnserve.server.lane.front_stream import FrontServices, FrontStream
from rnnserve.server.lane.open_streams import GAVE_WAY, OpenStreams
from rnnserve.server.lane.streams import LaneStream, StreamServices
from rnnserve.server.observing.origins import MANY_FIELDS, kept_metadata

__all__ = ["HOSTILE_FIELDS", "Acceptance", "NewStreams"]

HOSTILE_FIELDS = 512
"""Header fields of a call on the lane, of a client that acknowledges no settings. gRPC's core lets half a million
through until a client acknowledges the limit of 16 kB, less than 500 fields; and grpcio makes texts of each, on the
lane's thread. Beyond it: the connection is ended."""


class Acceptance(NamedTuple):
    """Tag of the events that bring a new stream.

    Attributes:
        method: Of which method.
        open: Begins it.
        outstanding: How many may be opened between two looks at the queue without waiting for one of them.
    """

    method: str
    open: Callable[[Any, str], None]
    outstanding: int


class LaneServices(StreamServices, FrontServices, Protocol):
    """What streams need of the lane."""

    def call_is_over(self) -> None:
        """Note that the last event of a call has come. For the lane's thread."""


class NewStreams:
    """Begins streams. For the lane's thread.

    Attributes:
        fronts: Those of HTTP fronts that are open.
    """

    def __init__(
        self,
        lane: LaneServices,
        streams: OpenStreams,
        exhausted: object,
        end_connection: Callable[[str], None],
        gate: Gate | None = None,
    ) -> None:
        """Begin none yet.

        Args:
            lane: Lane on which they arrive.
            streams: Open streams of clients.
            exhausted: Status, as grpcio has it, of a stream that gives way to another.
            end_connection: Function that ends a connection, by its name, without a long wait.
            gate: Gate that lets them in; None for all of them.
        """
        self._lane = lane
        self._streams = streams
        self._exhausted = exhausted
        self._end_connection = end_connection
        self._gate = gate
        self.fronts: set[FrontStream] = set()
        self._is_going = False

    def begin(self, event: Any, method: str) -> None:  # noqa: ANN401 - grpcio's own
        """Begin a client's stream of a method, or refuse it."""
        deadline = from_wall_clock(event.call_details.deadline)
        name = event.call.peer().decode()
        metadata = self.few_fields(event) if len(event.invocation_metadata) > MANY_FIELDS else event.invocation_metadata
        try:
            grant = None if self._gate is None else self._admit(self._gate, method, event)
            displaced = self._streams.make_room(name)
        except ServeError as error:
            call = LaneCall(self._lane, event.call, deadline, (), metadata)
            # Without a name for it: a frame that has an error as a variable, and is in its traceback, would stay.
            call.refuse(error)
            return
        if displaced is not None:
            displaced.cancel(self._exhausted, GAVE_WAY)
        connection = self._streams.connection(name)
        stream = LaneStream(self._lane, event.call, connection, deadline, metadata)
        stream.grant = grant
        self._streams.add(stream)
        stream.begin()

    def _admit(self, gate: Gate, method: str, event: Any) -> Grant | None:  # noqa: ANN401 - grpcio's own
        metadata = event.invocation_metadata
        return gate.admit(method, metadata, lambda: self._lane.certificate_of(event.call, metadata))

    def few_fields(self, event: Any) -> tuple[Any, ...]:  # noqa: ANN401 - grpcio's own
        """Give the header fields that are looked at, of a call with many; of one with a flood, end the connection."""
        if len(event.invocation_metadata) > HOSTILE_FIELDS:
            self._end_connection(event.call.peer().decode())
        return kept_metadata(event.invocation_metadata)

    def begin_front(self, event: Any, _: str) -> None:  # noqa: ANN401 - grpcio's own
        """Begin the stream of a front, or refuse it where it has not come over the private socket."""
        if not is_private(event.call.peer().decode()):
            deadline = from_wall_clock(event.call_details.deadline)
            LaneCall(self._lane, event.call, deadline).refuse(Unsupported("this method is for the server's own front"))
            return
        stream = FrontStream(self._lane, event.call, self._front_is_over)
        self.fronts.add(stream)
        stream.begin()
        if self._is_going:
            stream.end()

    def send_collected(self) -> None:
        """Send to fronts what has been answered in a turn of the lane."""
        for front in self.fronts:
            front.send_collected()

    def end_fronts(self) -> None:
        """Tell fronts that the server goes, and those that come yet (`FrontStream.end`). For another thread."""
        self._is_going = True
        for front in list(self.fronts):
            front.end()

    def _front_is_over(self, stream: FrontStream) -> None:
        self.fronts.discard(stream)
        self._lane.call_is_over()
