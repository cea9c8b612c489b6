"""A request on a stream, and what it needs of the stream, which sends its response in its turn."""

import abc
from collections.abc import Callable, Iterable
from typing import Any

from rnnserve.server.boundary.compression import is_compressed
from rnnserve.server.connections.byte_budget import SMALL
from rnnserve.server.counting.table import count_refusal
from rnnserve.server.errors import ServeError
from rnnserve.server.lane.arrived_requests import ArrivedRequest, CallServices
from rnnserve.server.lane.connection_streams import ConnectionStreams
from rnnserve.server.lane.varying_fields import find_varying_fields, read_id
from rnnserve.server.observing.origins import Origin, origin_of
from rnnserve.server.observing.runs import tell_refusal
from rnnserve.server.protocol.responses import encode_stream_error, encode_stream_response
from rnnserve.server.protocol.sequence_callers import StreamOwner

__all__ = ["MessageStream", "StreamMessage"]


class MessageStream(StreamOwner, abc.ABC):
    """A stream, as its messages see it.

    Attributes:
        connection: The streams of its connection.
        deadline: In seconds on the clock of `clock`; far in the future where the caller set none.
        metadata: What it was opened with: pairs of key and value.
        errors_end_it: Whether its client asks that the first error end it, with its status.
        unsent_bytes: Bytes of responses that wait to be sent.
    """

    __slots__ = ("connection", "deadline", "errors_end_it", "metadata", "unsent_bytes")

    connection: ConnectionStreams
    deadline: float
    metadata: Iterable[Any]
    errors_end_it: bool
    unsent_bytes: int

    @abc.abstractmethod
    def identity(self) -> str:
        """Give the names in the client's certificate; empty where it has shown none."""

    @abc.abstractmethod
    def answered(self, message: "StreamMessage") -> None:
        """Send a message's response when it is its turn."""


class StreamMessage(ArrivedRequest):
    """One request on a stream.

    Attributes:
        response: The bytes of its ModelStreamInferResponse; None until it is answered.
        status: The operation that ends the stream in the place of the response; None where it goes on.
        is_parsed_elsewhere: Whether another thread than the lane's may parse it: until it is answered, no further one
            of its stream is received, so that they stay in order.
        on_cancel: What is called if the stream ends before it is answered; None where none watches.
    """

    __slots__ = ("_stream", "is_parsed_elsewhere", "on_cancel", "response", "status")

    def __init__(self, lane: CallServices, stream: MessageStream, payload: bytes) -> None:
        super().__init__(lane, payload, stream.deadline, stream)
        self._connection = stream.connection.name
        self._stream = stream
        self.response: bytes | None = None
        self.status: tuple[object, ...] | None = None
        self.on_cancel: Callable[[], None] | None = None
        self.is_parsed_elsewhere = len(payload) > SMALL or is_compressed(payload)

    def peer(self) -> str:
        """Name the connection: the same for all of its requests."""
        return self._connection

    def origin(self) -> Origin:
        """Say where it comes from; before it is answered."""
        return origin_of(self._connection, self._stream.metadata, read_id(self.payload), "ModelStreamInfer")

    def identity(self) -> str:
        """Give the names in the client's certificate; empty where it has shown none."""
        return self._stream.identity()

    def watch(self, on_cancel: Callable[[], None]) -> None:
        """Call `on_cancel`, on the lane's thread, if the stream ends before the request is answered."""
        self.on_cancel = on_cancel
        if not self._stream.is_open:
            on_cancel()

    def answer(self, payload: bytes) -> None:
        """Send the response in its turn, or that the budget of bytes is spent."""
        if self.is_counted(len(payload)) and not self.hold_response(payload):
            return
        self._finish(encode_stream_response(payload))

    def is_counted(self, size: int) -> bool:
        """Tell whether a response of so many bytes takes them from the lane's budget."""
        return self.held_bytes > 0 or self._stream.unsent_bytes + size > SMALL

    def refuse(self, error: ServeError) -> None:
        """Send an error in its turn, with the request's id where that stands at its beginning."""
        if self.is_answered:
            return
        self.let_go()
        count_refusal(error)
        request_id = tell_refusal(self, error)
        if self._stream.errors_end_it:
            self.status = (self._lane.operations.status(error, request_id),)
        start, id_end, _ = find_varying_fields(self.payload)
        self._finish(encode_stream_error(error, self.payload[start:id_end]))

    def _finish(self, response: bytes) -> None:
        if self.is_answered:
            return  # after a failure in the middle of a batch, all of the batch may be refused
        self.is_answered = True
        self.payload = b""
        self.on_cancel = None
        self.response = response
        self._stream.answered(self)
