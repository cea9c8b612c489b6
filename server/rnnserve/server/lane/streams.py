"""A call of ModelStreamInfer on the lane: requests and responses on one stream, without a thread of its own.

How a stream proceeds, as the completion queue reports it: one batch of operations waits for the call to close; one
receives a message, and is started again as soon as it has come; one sends a response, the next one after it. So a step
costs two events, and no call of its own. Where the client sends each message after the response to the one before, one
batch sends a response and receives the next message: a step costs one event.

Responses are sent in the order of the requests. While as many requests of a stream or of its connection are in hand as
may be, or a large one, no further one is received: the client's messages then wait in its own process.
"""

import threading
from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol

from rnnserve.server.clock import now
from rnnserve.server.errors import ServeError
from rnnserve.server.lane.arrived_requests import CallServices
from rnnserve.server.lane.connection_streams import ConnectionStreams
from rnnserve.server.lane.stream_messages import MessageStream, StreamMessage
from rnnserve.server.lane.stream_tags import OVER, StreamTag
from rnnserve.server.observing.origins import kept_metadata
from rnnserve.server.protocol.responses import errors_end_stream

__all__ = ["LaneStream"]

_IN_HAND = 256
"""Requests of one stream that are in hand, with those whose responses have not been sent. Beyond it: the next wait at
the client."""

_ALONE = 4
"""Messages in a row that were answered before the next one came. From then on the client is taken to wait for each
response, and the next message is received with it."""

_ALONE_AGAIN = 32
"""Of so many such messages, one is received as soon as it can be: that shows whether the client waits still."""

_EXCHANGED_BYTES = 2 << 10
"""A larger response is sent by itself: one that is sent with the receipt of a message is kept until that comes."""


class StreamServices(CallServices, Protocol):
    """What a stream needs of the lane that it has arrived on."""

    def stream_is_over(self, stream: "LaneStream", /) -> None:
        """Note that the last event of a stream has come. On the lane's thread."""


class LaneStream(MessageStream):
    """A stream. Its events come on the lane's thread; its requests are answered from any.

    Attributes:
        heard: When its last message came, in seconds on the clock of `clock`.
    """

    __slots__ = (
        "_alone",
        "_call",
        "_close_tag",
        "_end_error",
        "_has_begun_to_send",
        "_has_status",
        "_in_hand",
        "_is_half_closed",
        "_is_receiving",
        "_lane",
        "_lock",
        "_operations",
        "_receive_tag",
        "_send_tag",
        "_sending",
        "heard",
    )

    def __init__(
        self,
        lane: StreamServices,
        call: Any,  # noqa: ANN401 - grpcio's own
        connection: ConnectionStreams,
        deadline: float,
        metadata: Iterable[Any],
    ) -> None:
        """Take a call, as grpcio's core gives it.

        Args:
            lane: The lane whose events it has.
            call: The call.
            connection: The streams of its connection.
            deadline: The caller's deadline, in seconds on the clock of `clock`.
            metadata: Metadata of the call: pairs of key and value.
        """
        super().__init__()
        self._lane = lane
        self._call = call
        self.deadline = deadline
        self.heard = now()
        self.unsent_bytes = 0
        self.metadata = kept_metadata(metadata)
        self.errors_end_it = errors_end_stream(metadata)
        self._lock = threading.Lock()
        self._in_hand: deque[StreamMessage] = deque()  # in the order of their arrival
        self._sending: StreamMessage | None = None
        self._has_begun_to_send = False
        self._is_receiving = False
        self._alone = 0  # messages in a row that were answered before the next one came
        self._is_half_closed = False
        self._has_status = False
        self._operations = 0  # batches that have been started and whose events have not come
        self.connection = connection
        self._end_error: ServeError | None = None
        self._receive_tag: StreamTag[StreamMessage] = StreamTag(self._received)
        self._send_tag: StreamTag[StreamMessage] = StreamTag(self._sent)
        self._close_tag: StreamTag[StreamMessage] = StreamTag(self._closed)

    @property
    def is_waiting(self) -> bool:
        """Whether nothing of it is in hand: it waits for its client."""
        return not self._in_hand

    @property
    def in_hand(self) -> int:
        """How many of its requests have not been answered, or are being."""
        return len(self._in_hand) + (self._sending is not None)

    @property
    def is_idle(self) -> bool:
        """Whether it waits for its client, and nothing is being sent to it."""
        return not self._in_hand and self._sending is None

    def peer(self) -> str:
        """Name the connection: the same for all of its calls."""
        return self.connection.name

    def identity(self) -> str:
        """Give the names in the client's certificate; empty where it has shown none."""
        return self._lane.identity_of(self._call)

    def begin(self) -> None:
        """Wait for its messages, and for its end."""
        with self._lock:
            self._start((self._lane.operations.new_close(),), self._close_tag)
            self._receive_more()

    def answered(self, message: StreamMessage) -> None:
        """Send a message's response when it is its turn."""
        with self._lock:
            if self._has_status or not self.is_open:
                message.let_go()
                return
            self._alone = self._alone + 1 if len(self._in_hand) == 1 else 0
            is_exchange = self._is_exchange(message)
            if is_exchange:
                self._exchange()
            else:
                self.unsent_bytes += len(message.response or b"")
                self._send_next()
        if is_exchange:
            self._give_back(1)

    def _is_exchange(self, message: StreamMessage) -> bool:
        """Whether a response can be sent with the receipt of the next message, and no other is in hand or sent."""
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
        operations = self._lane.operations
        message = self._in_hand.popleft()
        self._is_receiving = True
        exchange = operations.send_message(message.response or b"", 0), operations.receive_message(0)
        self._start(exchange, self._receive_tag)

    def end(self, error: ServeError) -> None:
        """End the stream when what is in hand has been answered, whatever else the client would send.

        Args:
            error: The error that ends it.
        """
        with self._lock:
            self._is_half_closed = True
            self._end_error = error
            self._send_next()

    def _received(self, event: Any) -> StreamMessage | None:  # noqa: ANN401 - grpcio's own
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
                message = StreamMessage(self._lane, self, payload)
                self._in_hand.append(message)
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
            cut_off = [message.on_cancel for message in self._in_hand if message.on_cancel is not None]
            for message in self._in_hand:
                if message.response is not None:
                    message.let_go()
            count = len(self._in_hand)
            self._in_hand.clear()
        for on_cancel in cut_off:
            on_cancel()
        self._give_back(count)
        self._tell_if_over()

    def receive_again(self) -> None:
        """Receive, after others of its connection have been answered."""
        with self._lock:
            if not self._has_status and self.is_open:
                self._receive_more()

    def cancel(self, status: object, words: str) -> None:
        """End the stream at once. For another thread than the lane's."""
        self._call.cancel(status, words)

    def _give_back(self, count: int) -> None:
        for stream in self.connection.give_back(count):
            stream.receive_again()

    def _send_next(self) -> None:
        """Send the next response, or the status where there is none; receive more where that may be. With the lock."""
        if self._has_status or not self.is_open or self._sending is not None:
            return
        if self._in_hand and self._in_hand[0].response is not None:
            message = self._in_hand[0]
            if message.status is not None:
                self._end(message.status)  # what is in hand is given back when the stream is closed
                return
            self._sending = self._in_hand.popleft()
            self._start((self._lane.operations.send_message(message.response or b"", 0),), self._send_tag)
        elif self._is_half_closed and not self._in_hand:
            self._end((self._lane.operations.status(self._end_error),))
            return
        self._receive_more()

    def _receive_more(self) -> None:
        if not (self._is_receiving or self._is_half_closed) and len(self._in_hand) < _IN_HAND:
            if self._in_hand and self._in_hand[-1].is_parsed_elsewhere:
                return
            if not self.connection.may_receive(self):
                return
            self._is_receiving = True
            self._start((self._lane.operations.receive_message(0),), self._receive_tag)

    def _end(self, status: tuple[object, ...]) -> None:
        self._has_status = True
        self._start(status, self._send_tag)

    def _start(self, operations: tuple[object, ...], tag: StreamTag[StreamMessage]) -> None:
        if not self._has_begun_to_send and tag is self._send_tag:
            self._has_begun_to_send = True
            operations = (self._lane.operations.no_metadata, *operations)
        self._operations += 1
        self._call.start_server_batch(operations, tag)

    def _tell_if_over(self) -> None:
        """Tell the lane where the stream has closed and its last event has come: then nothing of it is left.

        On the lane's thread, after each event. Without the lock: nothing is started on a stream that has closed. The
        tags refer to the stream: without them, it is freed with the last that refers to it.
        """
        if not (self.is_open or self._operations):
            self._receive_tag = self._send_tag = self._close_tag = OVER
            self._lane.stream_is_over(self)
