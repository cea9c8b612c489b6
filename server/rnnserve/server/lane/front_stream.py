"""Many requests in one message: the stream on which an HTTP front sends what it has read in one turn of its loop.

A call of its own costs the front 170 microseconds of processor time, most of what it does for a request, and the server
15; a request among many in a message costs either a few. The stream is on the private socket alone, and each of its
requests is one of another client: fairness and budgets go by that.

Requests are answered in any order, each as soon as it can be: while answers are being sent, the next ones collect.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import grpc
from google.protobuf.message import DecodeError

from rnnserve.protos import front_pb2
from rnnserve.protos.protocol_words import CERTIFICATE, REQUEST_ID
from rnnserve.server.clock import now
from rnnserve.server.connections.byte_budget import SMALL
from rnnserve.server.connections.private_socket import of_http
from rnnserve.server.counting.table import answering, count_http_answer, count_refusal
from rnnserve.server.errors import InvalidRequest, ServeError
from rnnserve.server.lane.arrived_requests import ArrivedRequest, CallServices
from rnnserve.server.lane.stream_tags import OVER, StreamTag
from rnnserve.server.lane.varying_fields import read_id
from rnnserve.server.observing.origins import Origin, origin_of
from rnnserve.server.observing.runs import tell_refusal

__all__ = ["FrontBatch", "FrontRequest", "FrontStream"]

_IN_HAND = 2048
"""Requests of one stream that are in hand at once, with those whose answers have not been sent: then none is received,
and further ones wait in the front."""

_FAREWELL_SECONDS = 1.0
"""Seconds within which a front that is told that the server goes half-closes; it takes milliseconds."""

_NO_HEADERS: Mapping[str, str] = {}

_CODES = {code.name: code.value[0] for code in grpc.StatusCode}


class FrontServices(CallServices, Protocol):
    """What the stream needs of the lane that it has arrived on."""

    @property
    def handing_on(self) -> int:
        """The number of the lane's thread while it answers what has arrived: it sends what has collected after that."""


class FrontRequest(ArrivedRequest):
    """One request of a message.

    Attributes:
        number: The front's.
        request_id: Its name in logs.
        headers: What else the server is to see of the client's headers, by name in lower case. They are the client's
            own, and as true as metadata of a call are; believed they are from the private socket alone.
        on_cancel: What is called if its client goes before it is answered; None where none watches.
    """

    __slots__ = ("_front", "headers", "number", "on_cancel", "request_id")

    stream = None

    def __init__(self, lane: CallServices, front: "FrontStream", entry: Any, arrived: float) -> None:  # noqa: ANN401 - a message
        """Take an entry of a message that has arrived at a time, in seconds on the clock of `clock`."""
        # Without `super().__init__`, as in `LaneCall`.
        self._lane = lane
        self.payload = entry.request
        self.deadline = arrived + entry.timeout
        self.is_answered = False
        self.held_bytes = 0
        self.grant = None
        self._connection = of_http(entry.peer)
        self._room = 0
        self._front = front
        self.number: int = entry.number
        self.request_id: str = entry.request_id
        headers = entry.headers
        self.headers: Mapping[str, str] = dict(headers) if headers else _NO_HEADERS
        self.on_cancel: Callable[[], None] | None = None

    def peer(self) -> str:
        """Name the connection of the front's client."""
        return self._connection

    def origin(self) -> Origin:
        """Say where it comes from; before it is answered."""
        told = ((REQUEST_ID, self.request_id), *self.headers.items())
        return origin_of(self._connection, told, read_id(self.payload), "ModelInfer")

    def identity(self) -> str:
        """Nothing: the front's clients show their certificates to the front."""
        return ""

    def certificate(self) -> str:
        """Give the certificate that its client has shown to the front; empty for none."""
        return self.headers.get(CERTIFICATE, "")

    def watch(self, on_cancel: Callable[[], None]) -> None:
        """Call `on_cancel`, on the lane's thread, if the client goes before the request is answered."""
        self.on_cancel = on_cancel
        if not self._front.has(self.number):
            on_cancel()

    def answer(self, payload: bytes) -> None:
        """Send the response, or that the budget of bytes is spent."""
        if (len(payload) > SMALL or self.held_bytes) and not self.hold_response(payload):
            return
        if not self.is_answered:
            count_http_answer(answering.counts)
        self._finish(0, payload, "")

    def is_counted(self, size: int) -> bool:
        """Tell whether a response of so many bytes takes them from the lane's budget."""
        return size > SMALL or self.held_bytes > 0

    def refuse(self, error: ServeError) -> None:
        """Send an error."""
        if not self.is_answered:
            self.let_go()
            count_refusal(error, is_http=True)
            tell_refusal(self, error)
            self._finish(_CODES[error.status], b"", str(error))

    def _finish(self, status: int, response: bytes, message: str) -> None:
        if self.is_answered:
            return  # after a failure in the middle of a batch, all of the batch may be refused
        self.is_answered = True
        self.payload = b""
        self.on_cancel = None
        self._front.answered(self, status, response, message)


class FrontBatch:
    """The requests of one message, as the lane's loop gets them.

    Attributes:
        payload: Of a size that the loop does not take for that of one small request.
        requests: The requests.
    """

    __slots__ = ("requests",)

    payload = bytes(SMALL + 1)

    def __init__(self, requests: list[FrontRequest]) -> None:
        self.requests = requests


class FrontStream:
    """A stream. Its events come on the lane's thread; its requests are answered from any."""

    __slots__ = (
        "_answers",
        "_call",
        "_close_tag",
        "_count",
        "_end_error",
        "_has_begun_to_send",
        "_has_status",
        "_in_hand",
        "_is_ending",
        "_is_open",
        "_is_receiving",
        "_is_sending",
        "_lane",
        "_lock",
        "_must_tell",
        "_on_end",
        "_operations",
        "_receive_tag",
        "_send_tag",
        "_sent_requests",
        "_told_at",
    )

    def __init__(
        self,
        lane: FrontServices,
        call: Any,  # noqa: ANN401 - grpcio's own
        on_end: Callable[["FrontStream"], None],
    ) -> None:
        """Take a call, as grpcio's core gives it; `on_end` is called when its last event has come."""
        self._lane = lane
        self._on_end = on_end
        self._call = call
        self._lock = threading.Lock()
        self._in_hand: dict[int, FrontRequest] = {}  # not answered
        self._count = 0  # of these, and of those whose answers have not been sent
        self._answers: list[tuple[FrontRequest, int, bytes, str]] = []
        self._sent_requests: list[FrontRequest] = []
        self._is_open = True
        self._is_ending = self._is_receiving = self._is_sending = self._has_begun_to_send = self._has_status = False
        self._must_tell, self._told_at = False, 0.0  # that the server goes; when it was to be told, if it was
        self._end_error: ServeError | None = None
        self._operations = 0  # batches that have been started and whose events have not come
        self._receive_tag: StreamTag[FrontBatch] = StreamTag(self._received)
        self._send_tag: StreamTag[FrontBatch] = StreamTag(self._sent)
        self._close_tag: StreamTag[FrontBatch] = StreamTag(self._closed)

    def begin(self) -> None:
        """Say that it is taken, by a message without answers; wait for its messages, and for its end."""
        with self._lock:
            self._start((self._lane.operations.new_close(),), self._close_tag)
            self._is_sending = True
            self._start((self._lane.operations.send_message(b"", 0),), self._send_tag)
            self._receive()

    @property
    def in_hand(self) -> int:
        """How many of its requests are in hand, with those whose answers have not been sent."""
        return self._count

    def has(self, number: int) -> bool:
        """Whether a request is in hand, and its client is there, as far as is known."""
        return number in self._in_hand

    def answered(self, request: FrontRequest, status: int, response: bytes, message: str) -> None:
        """Send an answer, with others that have come while one was being sent."""
        with self._lock:
            self._in_hand.pop(request.number, None)
            if not self._is_open:
                request.let_go()
                return
            self._answers.append((request, status, response, message))
            if self._lane.handing_on != threading.get_ident():
                self._send()

    def send_collected(self) -> None:
        """Send what has been answered while the lane handed on what had arrived: together, as it has come."""
        if self._answers:
            with self._lock:
                self._send()

    def end(self) -> None:
        """Tell the front that the server goes: it half-closes, and has what it has written until then answered.

        Where it has not half-closed some time after the first call, the next one ends the stream, with what is in hand
        answered. To do so at once loses requests: of a message that the front writes meanwhile, gRPC tells it that the
        stream broke, in the place of the status, so that it cannot know whether they were run. For another thread than
        the lane's.
        """
        with self._lock:
            if not self._told_at:
                self._must_tell, self._told_at = True, now()
            elif now() - self._told_at >= _FAREWELL_SECONDS:
                self._is_ending = True
            self._send()

    def _received(self, event: Any) -> FrontBatch | None:  # noqa: ANN401 - grpcio's own
        payload = event.batch_operations[0].message()
        made: list[FrontRequest] = []
        cancelled: list[FrontRequest] = []
        with self._lock:
            self._operations -= 1
            self._is_receiving = False
            if payload is None or self._is_ending or not self._is_open:
                self._is_ending = True  # what has come now is not answered: the front asks another server
            else:
                try:
                    message = front_pb2.FrontRequests.FromString(payload)
                except DecodeError:
                    self._is_ending, self._end_error = True, InvalidRequest("this is no message of an HTTP front")
                else:
                    at = now()
                    made = [FrontRequest(self._lane, self, entry, at) for entry in message.entries]
                    self._in_hand.update([(request.number, request) for request in made])
                    self._count += len(made)
                    gone = [self._in_hand.pop(number, None) for number in message.cancelled]
                    cancelled = [request for request in gone if request is not None]
            self._receive()
            self._send()
        for request in cancelled:
            if request.on_cancel is not None:
                request.on_cancel()
        self._tell_if_over()
        return FrontBatch(made) if made else None

    def _sent(self, _: Any) -> None:  # noqa: ANN401 - grpcio's own
        with self._lock:
            self._operations -= 1
            self._is_sending = False
            sent, self._sent_requests = self._sent_requests, []
            self._count -= len(sent)
            for request in sent:
                if request.held_bytes:
                    request.let_go()
            self._send()
            self._receive()
        self._tell_if_over()

    def _closed(self, _: Any) -> None:  # noqa: ANN401 - grpcio's own
        with self._lock:
            self._operations -= 1
            self._is_open = False
            cut_off = list(self._in_hand.values())
            self._in_hand.clear()
            for request, *_ in self._answers:
                request.let_go()
            self._answers.clear()
        for request in cut_off:
            if request.on_cancel is not None:
                request.on_cancel()
        self._tell_if_over()

    def _send(self) -> None:
        """Send the answers that there are, or the end. With the lock."""
        if self._is_sending or self._has_status or not self._is_open:
            return
        if self._answers or self._must_tell:
            message = front_pb2.FrontAnswers(is_ending=self._must_tell)
            self._must_tell = False
            add = message.entries.add
            for request, status, response, said in self._answers:
                add(number=request.number, response=response, status=status, message=said)
                self._sent_requests.append(request)
            self._answers.clear()
            self._is_sending = True
            self._start((self._lane.operations.send_message(message.SerializeToString(), 0),), self._send_tag)
        elif self._is_ending and not self._count:
            self._has_status = True  # a message that is arriving is not answered
            self._start((self._lane.operations.status(self._end_error),), self._send_tag)

    def _receive(self) -> None:
        """Receive a message, where one may come. With the lock."""
        if not (self._is_receiving or self._is_ending) and self._is_open and self._count < _IN_HAND:
            self._is_receiving = True
            self._start((self._lane.operations.receive_message(0),), self._receive_tag)

    def _start(self, operations: tuple[object, ...], tag: StreamTag[FrontBatch]) -> None:
        if not self._has_begun_to_send and tag is self._send_tag:
            self._has_begun_to_send = True
            operations = (self._lane.operations.no_metadata, *operations)
        self._operations += 1
        self._call.start_server_batch(operations, tag)

    def _tell_if_over(self) -> None:
        """Tell the lane where the stream has closed and its last event has come. On the lane's thread."""
        if not (self._is_open or self._operations):
            self._receive_tag = self._send_tag = self._close_tag = OVER
            self._on_end(self)
