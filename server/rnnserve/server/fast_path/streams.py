"""A call of ModelStreamInfer on the fast path: requests and responses on one stream, which keeps no thread.

How a stream proceeds, as the completion queue reports it: one batch of operations waits for the call to close; one
receives a message, and is started again as soon as it has come; one sends a response, the next one after it. So a step
costs two events, and no call. If the client sends each message after the response to the one before, one
batch sends a response and receives the next message: then a step costs one event.

Responses are sent in the order of the requests. While as many requests of a stream, or of its connection's streams, are
in flight as may be, or a large one, no further one is received: the client's messages then wait in its own process.
"""

import abc
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rnnserve.server.clock import now
from rnnserve.server.connections.byte_budget import SMALL
from rnnserve.server.counting.table import count_refusal
from rnnserve.server.errors import ServeError, TooManyStreams
from rnnserve.server.fast_path.calls import ArrivedRequest, Door, FastDoor
from rnnserve.server.fast_path.varying_fields import find_varying_fields, read_id
from rnnserve.server.observing.observer import tell_refusal
from rnnserve.server.observing.origins import Origin, kept_metadata, origin_of
from rnnserve.server.protocol.responses import encode_stream_error, encode_stream_response, errors_end_stream
from rnnserve.server.protocol.sequences import StreamOwner
from rnnserve.server.validation.parsing import is_compressed

__all__ = ["ConnectionStreams", "CoreStream", "OpenStreams", "RequestStream", "StreamMessage", "StreamTag"]

_IN_FLIGHT = 256
"""Requests of one stream in flight, with those whose responses have not been sent. Beyond it: the next wait at the
client."""

_ALONE = 4
"""Messages in a row that were answered before the next one came. From then on the client is taken to wait for each
response, and the next message is received with it."""

_ALONE_AGAIN = 32
"""Of so many such messages, one is received as soon as it can be: that shows whether the client waits still."""

_EXCHANGED_BYTES = 2 << 10
"""A larger response is sent alone: one that is sent with the receipt of a message is kept until that comes."""


class StreamTag:
    """Tag of the events of a stream that one of its methods handles.

    Attributes:
        complete: Handles an event, and returns the request that it brings, or None.
    """

    __slots__ = ("complete",)

    def __init__(self, complete: Callable[[Any], Any]) -> None:
        self.complete = complete


def _no_more(_: Any) -> None:  # noqa: ANN401 - grpcio's own
    raise AssertionError("an event came after the last one of its stream")


_OVER = StreamTag(_no_more)
"""In place of the tags of a stream that is over."""


class CoreStream(StreamOwner, abc.ABC):
    """A stream of grpcio's core: what both kinds of streams have in common.

    Its events come on the fast path's thread; its requests are answered from any. `_lock` guards everything.
    """

    __slots__ = (
        "_call", "_close_tag", "_core", "_door", "_has_begun_to_send", "_has_status", "_is_receiving", "_lock",
        "_operations", "_receive_tag", "_send_tag",
    )  # fmt: skip

    def __init__(self, door: FastDoor, call: Any) -> None:  # noqa: ANN401 - grpcio's own
        """Take a call, as grpcio's core gives it."""
        super().__init__()
        self._door = door
        self._core = door.core
        self._call = call
        self._lock = threading.Lock()
        self._is_receiving = self._has_begun_to_send = self._has_status = False
        self._operations = 0  # batches that have been started and whose events have not come
        self._receive_tag = StreamTag(self._received)
        self._send_tag = StreamTag(self._sent)
        self._close_tag = StreamTag(self._closed)

    @abc.abstractmethod
    def _received(self, event: Any) -> object:  # noqa: ANN401 - grpcio's own
        """Handle a message, or the client's half-close."""

    @abc.abstractmethod
    def _sent(self, event: Any) -> None:  # noqa: ANN401 - grpcio's own
        """Handle that a response or the status has been sent."""

    @abc.abstractmethod
    def _closed(self, event: Any) -> None:  # noqa: ANN401 - grpcio's own
        """Handle the end of the call."""

    def _start(self, operations: tuple[object, ...], tag: StreamTag) -> None:
        if not self._has_begun_to_send and tag is self._send_tag:
            self._has_begun_to_send = True
            operations = (self._core.no_metadata, *operations)
        self._operations += 1
        self._call.start_server_batch(operations, tag)

    def _start_message(self, payload: bytes) -> None:
        self._start((self._core.send_message(payload, 0),), self._send_tag)

    def _start_receiving(self) -> None:
        self._is_receiving = True
        self._start((self._core.receive_message(0),), self._receive_tag)

    def _start_waiting_for_close(self) -> None:
        self._start((self._core.new_close(),), self._close_tag)

    def _drop_tags(self) -> None:
        """Refer to itself no more: then it is freed with the last that refers to it."""
        self._receive_tag = self._send_tag = self._close_tag = _OVER


class ConnectionStreams:
    """The streams of one connection: how many of their requests are in flight. Any thread may use it.

    Attributes:
        name: Name of the connection.
        count: How many of its streams are open.
    """

    def __init__(self, name: str, most: int) -> None:
        """Start without any.

        Args:
            name: Name of the connection.
            most: Requests in flight up to which its streams receive further ones.
        """
        self.name = name
        self.count = 0
        self._most = most
        self._in_flight = 0
        self._paused: set[RequestStream] = set()
        self._lock = threading.Lock()

    def may_receive(self, stream: "RequestStream") -> bool:
        """Whether a stream may receive now; if not, `give_back` returns it later."""
        with self._lock:
            if self._in_flight < self._most:
                return True
            self._paused.add(stream)
            return False

    def take(self) -> None:
        """Count a request that has been received."""
        with self._lock:
            self._in_flight += 1

    def give_back(self, count: int) -> "Iterable[RequestStream]":
        """Count requests that are no longer in flight; return the streams that may receive again."""
        with self._lock:
            self._in_flight -= count
            if not self._paused or self._in_flight >= self._most:
                return ()
            resumed, self._paused = self._paused, set()
            return resumed


class RequestStream(CoreStream):
    """A stream of a client.

    Attributes:
        connection: The streams of its connection.
        deadline: In seconds on the clock of `clock`, or far in the future if the caller set none.
        metadata: What it was opened with: pairs of key and value.
        errors_end_it: Whether its client asks that the first error end it, with its status.
        unsent_bytes: Bytes of responses that wait to be sent.
        heard: When its last message came, in seconds on the clock of `clock`.
    """

    __slots__ = (
        "_alone", "_end_error", "_in_flight", "_is_half_closed", "_on_end", "_sending", "connection", "deadline",
        "errors_end_it", "heard", "metadata", "unsent_bytes",
    )  # fmt: skip

    def __init__(
        self,
        door: FastDoor,
        call: Any,  # noqa: ANN401 - grpcio's own
        connection: ConnectionStreams,
        deadline: float,
        metadata: Iterable[Any],
        on_end: Callable[["RequestStream"], None],
    ) -> None:
        """Take a call.

        Args:
            door: The fast path.
            call: The call.
            connection: The streams of its connection.
            deadline: The caller's deadline, in seconds on the clock of `clock`.
            metadata: Metadata of the call: pairs of key and value.
            on_end: Called when its last event has come, on the fast path's thread.
        """
        super().__init__(door, call)
        self.connection = connection
        self.deadline = deadline
        self.heard = now()
        self.unsent_bytes = 0
        self.metadata = kept_metadata(metadata)
        self.errors_end_it = errors_end_stream(metadata)
        self._on_end = on_end
        self._in_flight: deque[StreamMessage] = deque()  # in the order of their arrival
        self._sending: StreamMessage | None = None
        self._alone = 0  # messages in a row that were answered before the next one came
        self._is_half_closed = False
        self._end_error: ServeError | None = None

    @property
    def in_flight(self) -> int:
        """How many of its requests have not been answered, or are being."""
        return len(self._in_flight) + (self._sending is not None)

    def status_of(self, error: ServeError, request_id: str) -> object:
        """Make the operation that ends the stream with an error."""
        return self._core.status(error, request_id)

    def begin(self) -> None:
        """Wait for its messages, and for its end."""
        with self._lock:
            self._start_waiting_for_close()
            self._receive_more()

    def answered(self, message: "StreamMessage") -> None:
        """Send a message's response when it is its turn."""
        with self._lock:
            if self._has_status or not self.is_open:
                message.let_go()
                return
            self._alone = self._alone + 1 if len(self._in_flight) == 1 else 0
            is_exchange = self._is_exchange(message)
            if is_exchange:
                self._exchange()
            else:
                self.unsent_bytes += len(message.response or b"")
                self._send_next()
        if is_exchange:
            self._give_back(1)

    def _is_exchange(self, message: "StreamMessage") -> bool:
        """Whether a response can be sent with the receipt of the next message, and no other is in flight."""
        return (
            self._alone > _ALONE
            and not (self._is_receiving or self._is_half_closed or message.held_bytes)
            and self._sending is None
            and message.status is None
            and len(message.response or b"") <= _EXCHANGED_BYTES
            and self.connection.may_receive(self)
        )

    def _exchange(self) -> None:
        """Send the only response, and receive the next message. Its event is that of the message."""
        message = self._in_flight.popleft()
        self._is_receiving = True
        exchange = self._core.send_message(message.response or b"", 0), self._core.receive_message(0)
        self._start(exchange, self._receive_tag)

    def end(self, error: ServeError) -> None:
        """End the stream when its requests in flight have been answered, whatever else the client would send.

        Args:
            error: The error that ends it.
        """
        with self._lock:
            self._is_half_closed = True
            self._end_error = error
            self._send_next()

    def _received(self, event: Any) -> "StreamMessage | None":  # noqa: ANN401 - grpcio's own
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
                self.connection.take()
                if self._alone < _ALONE or self._alone % _ALONE_AGAIN == 0:
                    self._receive_more()
        self._tell_if_over()
        return message

    def _sent(self, _: Any) -> None:  # noqa: ANN401 - grpcio's own
        with self._lock:
            self._operations -= 1
            sent, self._sending = self._sending, None
            if sent is not None:
                sent.let_go()
                self.unsent_bytes -= len(sent.response or b"")
            self._send_next()
        if sent is not None:
            self._give_back(1)
        self._tell_if_over()

    def _closed(self, _: Any) -> None:  # noqa: ANN401 - grpcio's own
        with self._lock:
            self._operations -= 1
            self.is_open = False
            cut_off = [message.on_cancel for message in self._in_flight if message.on_cancel is not None]
            for message in self._in_flight:
                if message.response is not None:
                    message.let_go()
            count = len(self._in_flight)
            self._in_flight.clear()
        for on_cancel in cut_off:
            on_cancel()
        self._give_back(count)
        self._tell_if_over()

    def receive_again(self) -> None:
        """Receive, after others of its connection have been answered."""
        with self._lock:
            if not self._has_status and self.is_open:
                self._receive_more()

    def _give_back(self, count: int) -> None:
        for stream in self.connection.give_back(count):
            stream.receive_again()

    def cancel(self, words: str) -> None:
        """End the stream at once, with RESOURCE_EXHAUSTED. For another thread than the fast path's."""
        self._call.cancel(self._core.exhausted, words)

    def _send_next(self) -> None:
        """Send the next response, or the status if there is none; receive more. With the lock."""
        if self._has_status or not self.is_open or self._sending is not None:
            return
        if self._in_flight and self._in_flight[0].response is not None:
            message = self._in_flight[0]
            if message.status is not None:
                self._end(message.status)  # what is in flight is given back when the stream is closed
                return
            self._sending = self._in_flight.popleft()
            self._start_message(message.response or b"")
        elif self._is_half_closed and not self._in_flight:
            self._end(self._core.status(self._end_error))
            return
        self._receive_more()

    def _receive_more(self) -> None:
        if self._is_receiving or self._is_half_closed or len(self._in_flight) >= _IN_FLIGHT:
            return
        if self._in_flight and self._in_flight[-1].is_parsed_elsewhere:
            return
        if self.connection.may_receive(self):
            self._start_receiving()

    def _end(self, status: object) -> None:
        self._has_status = True
        self._start((status,), self._send_tag)

    def _tell_if_over(self) -> None:
        """Tell the fast path when the stream has closed and its last event has come. On its thread, after each event.

        Without the lock: nothing is started on a stream that has closed.
        """
        if not (self.is_open or self._operations):
            self._drop_tags()
            self._on_end(self)


class StreamMessage(ArrivedRequest):
    """One request on a stream.

    Attributes:
        response: The bytes of its ModelStreamInferResponse; None until it is answered.
        status: The operation that ends the stream in place of the response, or None if it goes on.
        is_parsed_elsewhere: Whether another thread may parse it: until it is answered, no further one of its stream is
            received, so that they stay in order.
        on_cancel: Called if the stream ends before the request is answered, or None if nobody watches.
    """

    __slots__ = ("_stream", "is_parsed_elsewhere", "on_cancel", "response", "status")

    def __init__(self, door: Door, stream: RequestStream, payload: bytes) -> None:
        super().__init__(door, payload, stream.deadline, stream)
        self._connection = stream.connection.name
        self._stream = stream
        self.response: bytes | None = None
        self.status: object | None = None
        self.on_cancel: Callable[[], None] | None = None
        self.is_parsed_elsewhere = len(payload) > SMALL or is_compressed(payload)

    def peer(self) -> str:
        """Name the connection: the same for all of its requests."""
        return self._connection

    def origin(self) -> Origin:
        """Say where it comes from; before it is answered."""
        return origin_of(self._connection, self._stream.metadata, read_id(self.payload), "ModelStreamInfer")

    def watch(self, on_cancel: Callable[[], None]) -> None:
        """Call `on_cancel`, on the fast path's thread, if the stream ends before the request is answered."""
        self.on_cancel = on_cancel
        if not self._stream.is_open:
            on_cancel()

    def answer(self, payload: bytes) -> None:
        """Send the response in its turn, or that the budget of bytes is spent."""
        if self.is_counted(len(payload)) and not self.hold_response(payload):
            return
        self._finish(encode_stream_response(payload))

    def is_counted(self, size: int) -> bool:
        """Whether a response of so many bytes takes them from the budget: with those that wait to be sent."""
        return self.held_bytes > 0 or self._stream.unsent_bytes + size > SMALL

    def refuse(self, error: ServeError) -> None:
        """Send an error in its turn, with the request's id if that stands at its beginning."""
        if self.is_answered:
            return
        self.let_go()
        count_refusal(error)
        request_id = tell_refusal(self, error)
        if self._stream.errors_end_it:
            self.status = self._stream.status_of(error, request_id)
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


class OpenStreams:
    """The clients' streams that are open. The fast path's thread changes them; others may iterate over them."""

    def __init__(self, most: int, most_in_flight: int) -> None:
        """Start without any.

        Args:
            most: How many may be open; of one connection, half as many.
            most_in_flight: Requests in flight of one connection up to which its streams receive further ones.
        """
        self._most = most
        self._most_in_flight = most_in_flight
        self._streams: set[RequestStream] = set()
        self._connections: dict[str, ConnectionStreams] = {}

    def __len__(self) -> int:
        return len(self._streams)

    def __iter__(self) -> Iterator[RequestStream]:
        return iter(list(self._streams))

    def connection(self, name: str) -> ConnectionStreams:
        """Give the streams of a connection, which may open another one.

        Raises:
            TooManyStreams: If as many are open as may be, in all or of the connection.
        """
        found = self._connections.get(name) or ConnectionStreams(name, self._most_in_flight)
        if len(self._streams) >= self._most or found.count >= (self._most + 1) // 2:
            raise TooManyStreams(self._most)
        return found

    def add(self, stream: RequestStream) -> None:
        """Count a stream that has been opened."""
        self._streams.add(stream)
        self._connections[stream.connection.name] = stream.connection
        stream.connection.count += 1

    def discard(self, stream: RequestStream) -> None:
        """Count a stream no longer."""
        self._streams.discard(stream)
        stream.connection.count -= 1
        if not stream.connection.count:
            del self._connections[stream.connection.name]
