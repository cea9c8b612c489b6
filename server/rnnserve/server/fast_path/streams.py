"""ModelStreamInfer calls on the fast path: requests and responses on one stream, without a thread per stream.

The events of a stream: one batch of operations waits for the call to close. One batch receives a message, and is
started again after the message arrives. One batch sends a response, followed by the next. A step therefore costs two
events, and no new call. If the client waits for each response before it sends the next message, one batch sends the
response and receives the next message, so a step costs one event.

Responses are sent in the order of the requests. If a stream has reached its limit of requests in flight, or has a large
request in flight, no further message is received. The client's messages then wait in the client process.
"""

import abc
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from rnnserve.server.clock import now
from rnnserve.server.connections.byte_budget import SMALL
from rnnserve.server.errors import ServeError
from rnnserve.server.fast_path.calls import ArrivedRequest, FastDoor
from rnnserve.server.fast_path.templates import find_varying_fields, read_id
from rnnserve.server.observing.origins import Origin, kept_metadata, origin_of
from rnnserve.server.protocol.responses import encode_stream_error, encode_stream_response, errors_end_stream
from rnnserve.server.protocol.sequences import StreamOwner
from rnnserve.server.validation.parsing import is_compressed

__all__ = ["CoreStream", "RequestStream", "StreamMessage"]

_IN_FLIGHT = 256
"""Requests of one stream in flight, including unsent responses. Beyond it: further requests wait at the client."""

_ALONE, _ALONE_AGAIN = 4, 32
"""After this many messages in a row, each answered before the next one arrived, the stream assumes that the client
waits for each response, and receives the next message together with sending the response. Once in the second number of
messages, it starts to receive at once, to check that the client still waits."""

_EXCHANGED_BYTES = 2 << 10
"""Larger responses are sent separately, because a response sent together with a receive stays in memory until the
message arrives."""


class CoreStream(StreamOwner, abc.ABC):
    """A stream of a client or gateway. Events come on the fast path's thread, responses from any (see `_lock`)."""

    __slots__ = (
        "_call", "_core", "_door", "_end_error", "_has_begun_to_send", "_has_status", "_is_receiving", "_lock",
        "_on_end", "_operations",
    )  # fmt: skip

    def __init__(self, door: FastDoor, call: Any, on_end: Callable[[Any], None]) -> None:  # noqa: ANN401 - grpcio's type
        """Create the stream. After its last event, `on_end` is called with the stream on the fast path's thread."""
        super().__init__()
        self._door = door
        self._core = door.core
        self._call = call
        self._on_end = on_end
        self._lock = threading.Lock()
        self._is_receiving = self._has_begun_to_send = self._has_status = False
        self._end_error: ServeError | None = None
        self._operations = 0  # started batches whose events have not arrived

    @abc.abstractmethod
    def _received(self, event: Any) -> object:  # noqa: ANN401 - grpcio's type
        """Handle a message or the client's half-close."""

    @abc.abstractmethod
    def _sent(self, event: Any) -> None:  # noqa: ANN401 - grpcio's type
        """Handle the completed sending of a response or status."""

    @abc.abstractmethod
    def _closed(self, event: Any) -> None:  # noqa: ANN401 - grpcio's type
        """Handle the end of the call."""

    def _start(self, operations: tuple[object, ...], tag: Callable[[Any], object]) -> None:
        self._operations += 1
        self._call.start_server_batch(operations, tag)

    def _start_sending(self, operation: object) -> None:
        operations = (operation,) if self._has_begun_to_send else (self._core.no_metadata, operation)
        self._has_begun_to_send = True
        self._start(operations, self._sent)

    def _start_status(self, status: object) -> None:
        self._has_status = True
        self._start_sending(status)

    def _start_receiving(self) -> None:
        self._is_receiving = True
        self._start((self._core.receive_message(0),), self._received)

    def _look_for_end(self) -> None:
        """End the stream if it has closed and no event is pending. Nothing starts after that, so no lock is needed."""
        if not (self.is_open or self._operations):
            self._on_end(self)


class RequestStream(CoreStream):
    """A stream of a client."""

    __slots__ = (
        "_alone", "_in_flight", "_is_half_closed", "_room_of", "_sending", "connection", "deadline", "errors_end_it",
        "heard", "metadata", "unsent_bytes",
    )  # fmt: skip

    def __init__(
        self,
        door: FastDoor,
        call: Any,  # noqa: ANN401 - grpcio's type
        connection: str,
        deadline: float,
        metadata: Iterable[Any],
        room_of: Callable[[str], int],
        on_end: Callable[["RequestStream"], None],
    ) -> None:
        super().__init__(door, call, on_end)
        self._room_of = room_of
        self.connection = connection
        self.deadline = deadline  # in seconds on `clock` (far in the future if the caller set none)
        self.heard = now()  # arrival of its last message
        self.unsent_bytes = 0  # of responses that wait to be sent
        self.metadata = kept_metadata(metadata)
        self.errors_end_it = errors_end_stream(metadata)  # whether the client wants errors as statuses
        self._in_flight: deque[StreamMessage] = deque()  # in order of arrival
        self._sending: StreamMessage | None = None
        self._alone = 0  # messages in a row, each answered before the next one arrived
        self._is_half_closed = False

    @property
    def in_flight(self) -> int:
        """Number of its unanswered requests, including a response being sent."""
        return len(self._in_flight) + (self._sending is not None)

    def begin(self) -> None:
        """Start waiting for messages and for the end of the stream."""
        with self._lock:
            self._start((self._core.new_close(),), self._closed)
            self._receive_more()

    def answered(self, message: "StreamMessage") -> None:
        """Send a message's response when its turn comes."""
        with self._lock:
            message.on_cancel = None
            if self._has_status or not self.is_open:
                message.let_go()
                return
            self._alone = self._alone + 1 if len(self._in_flight) == 1 else 0
            if self._is_exchange(message):
                del self._in_flight[0]
                self._is_receiving = True
                exchange = self._core.send_message(message.response or b"", 0), self._core.receive_message(0)
                self._start(exchange, self._received)
            else:
                self.unsent_bytes += len(message.response or b"")
                self._send_next()

    def _is_exchange(self, message: "StreamMessage") -> bool:
        """Return whether a response can be sent together with receiving the next message."""
        return (
            self._alone > _ALONE
            and not (self._is_receiving or self._is_half_closed or message.held_bytes)
            and self._sending is None
            and message.status is None
            and len(message.response or b"") <= _EXCHANGED_BYTES
        )

    def end(self, error: ServeError) -> None:
        """End the stream after its requests in flight have been answered, and ignore later messages."""
        with self._lock:
            self._is_half_closed = True
            self._end_error = error
            self._send_next()

    def cancel(self, words: str) -> None:
        """End the stream at once with RESOURCE_EXHAUSTED. Call it from another thread than the fast path's."""
        self._call.cancel(self._core.exhausted, words)

    def _received(self, event: Any) -> "StreamMessage | None":  # noqa: ANN401 - grpcio's type
        payload = event.batch_operations[-1].message()
        self.heard = now()
        message = None
        with self._lock:
            self._operations -= 1
            self._is_receiving = False
            if payload is None or self._is_half_closed or not self.is_open:
                self._is_half_closed = True
                self._send_next()
            else:
                message = StreamMessage(self._door, self, payload)
                self._in_flight.append(message)
                if self._alone < _ALONE or self._alone % _ALONE_AGAIN == 0:
                    self._receive_more()
        self._look_for_end()
        return message

    def _sent(self, _: Any) -> None:  # noqa: ANN401 - grpcio's type
        with self._lock:
            self._operations -= 1
            sent, self._sending = self._sending, None
            if sent is not None:
                sent.let_go()
                self.unsent_bytes -= len(sent.response or b"")
            self._send_next()
        self._look_for_end()

    def _closed(self, _: Any) -> None:  # noqa: ANN401 - grpcio's type
        with self._lock:
            self._operations -= 1
            self.is_open = False
            for message in self._in_flight:
                if message.on_cancel is not None:
                    message.on_cancel()
                elif message.response is not None:
                    message.let_go()
            self._in_flight.clear()
        self._look_for_end()

    def _send_next(self) -> None:
        """Send the next response, or the status if none is left, and receive more. The caller must hold the lock."""
        if self._has_status or not self.is_open or self._sending is not None:
            return
        if self._in_flight and self._in_flight[0].response is not None:
            message = self._in_flight[0]
            if message.status is not None:
                self._start_status(message.status)
                return
            self._sending = self._in_flight.popleft()
            self._start_sending(self._core.send_message(message.response or b"", 0))
        elif self._is_half_closed and not self._in_flight:
            self._start_status(self._core.status(self._end_error))
            return
        self._receive_more()

    def _receive_more(self) -> None:
        """Receive a message unless a limit is reached. The caller must hold the lock."""
        if self._is_receiving or self._is_half_closed:
            return
        if self._in_flight:
            if self._in_flight[-1].is_parsed_elsewhere:
                return
            if len(self._in_flight) >= min(self._room_of(self.connection), _IN_FLIGHT):
                return
        self._start_receiving()


class StreamMessage(ArrivedRequest):
    """One request on a stream."""

    __slots__ = ("_stream", "is_parsed_elsewhere", "on_cancel", "response", "status")

    _door: FastDoor

    def __init__(self, door: FastDoor, stream: RequestStream, payload: bytes) -> None:
        super().__init__(door, payload, stream.deadline, stream)
        self._connection = stream.connection
        self._stream = stream
        self.response: bytes | None = None  # the bytes of its ModelStreamInferResponse, once answered
        self.status: object | None = None  # the operation that ends the stream instead of a response, if any
        self.on_cancel: Callable[[], None] | None = None  # called if the stream ends before the response
        # Another thread may parse the request. To keep the order, the next message is received only after its response.
        self.is_parsed_elsewhere = len(payload) > SMALL or is_compressed(payload)

    def origin(self) -> Origin:
        """Return the request's origin. Valid only before the response."""
        return origin_of(self._connection, self._stream.metadata, read_id(self.payload), "ModelStreamInfer")

    def watch(self, on_cancel: Callable[[], None]) -> None:
        """Call `on_cancel` on the fast path's thread if the stream ends before the response."""
        self.on_cancel = on_cancel
        if not self._stream.is_open:
            on_cancel()

    def is_counted(self, size: int) -> bool:
        """Return whether a response needs bytes from the budget, given the stream's unsent responses."""
        return self.held_bytes > 0 or self._stream.unsent_bytes + size > SMALL

    def answer(self, payload: bytes) -> None:
        """Send the response in its turn, or an error if the byte budget is exhausted."""
        if self.is_counted(len(payload)) and not self.hold_response(payload):
            return
        if self.is_answered:
            return  # after a failure within a batch, every request of the batch may be refused
        self.is_answered = True
        self.payload = b""
        self._finish(encode_stream_response(payload))

    def _send_error(self, error: ServeError, request_id: str) -> None:
        """Send an error in its turn, with the request's id if it is at the message's start."""
        if self._stream.errors_end_it:
            self.status = self._door.core.status(error, request_id)
        start, id_end, _ = find_varying_fields(self.payload)
        self._finish(encode_stream_error(error, self.payload[start:id_end]))

    def _finish(self, response: bytes) -> None:
        self.response = response
        self._stream.answered(self)
