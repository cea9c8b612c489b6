"""Many requests in one message: the stream on which the HTTP gateway sends what it has read in one turn of its loop.

A call for each request would cost the gateway 170 microseconds of processor time, and the server 15. A request among
many in a message costs either a few. The stream comes over the private socket alone, and each of its requests is one of
another client: shares and budgets go by that.

Requests are answered in any order, each as soon as it can be: while answers are being sent, the next ones collect.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from rnnserve.protos import front_pb2
from rnnserve.protos.protocol_words import CERTIFICATE, REQUEST_ID
from rnnserve.server.clock import now
from rnnserve.server.connections.byte_budget import SMALL
from rnnserve.server.connections.private_socket import of_http
from rnnserve.server.counting.table import answering, count_http_answer, count_refusal
from rnnserve.server.errors import InvalidRequest, ServeError
from rnnserve.server.fast_path.calls import ArrivedRequest, FastDoor
from rnnserve.server.fast_path.streams import CoreStream
from rnnserve.server.fast_path.varying_fields import read_id
from rnnserve.server.observing.observer import tell_refusal
from rnnserve.server.observing.origins import Origin, origin_of

__all__ = ["GatewayBatch", "GatewayRequest", "GatewayStream"]

_IN_FLIGHT = 2048
"""Requests of one stream in flight, with those whose answers have not been sent. Beyond it: further ones wait in the
gateway."""

_FAREWELL_SECONDS = 1.0
"""Seconds within which a gateway half-closes after it was told that the server goes; it takes milliseconds."""

_NO_HEADERS: Mapping[str, str] = {}

_CODES = {code.name: code.value[0] for code in grpc.StatusCode}


class GatewayRequest(ArrivedRequest):
    """One request of a message.

    Attributes:
        number: The gateway's.
        request_id: Its name in logs.
        headers: What else the server is to see of the client's headers, by name in lower case. They are as true as
            metadata of a call are.
        on_cancel: Called if its client goes before it is answered, or None if nobody watches.
    """

    __slots__ = ("_gateway", "headers", "number", "on_cancel", "request_id")

    stream = None

    def __init__(self, door: FastDoor, gateway: "GatewayStream", entry: Any, arrived: float) -> None:  # noqa: ANN401 - a message
        """Take an entry of a message that has arrived at a time, in seconds on the clock of `clock`."""
        # Without `super().__init__`, as in `UnaryCall`.
        self._door = door
        self.payload = entry.request
        self.deadline = arrived + entry.timeout
        self.is_answered = False
        self.held_bytes = 0
        self.grant = None
        self._connection = of_http(entry.peer)
        self._room = 0
        self._gateway = gateway
        self.number: int = entry.number
        self.request_id: str = entry.request_id
        headers = entry.headers
        self.headers: Mapping[str, str] = dict(headers) if headers else _NO_HEADERS
        self.on_cancel: Callable[[], None] | None = None

    def peer(self) -> str:
        """Name the connection of the gateway's client."""
        return self._connection

    def origin(self) -> Origin:
        """Say where it comes from; before it is answered."""
        said = ((REQUEST_ID, self.request_id), *self.headers.items())
        return origin_of(self._connection, said, read_id(self.payload), "ModelInfer")

    def certificate(self) -> str:
        """Give the certificate that its client has shown to the gateway, or an empty text."""
        return self.headers.get(CERTIFICATE, "")

    def watch(self, on_cancel: Callable[[], None]) -> None:
        """Call `on_cancel`, on the fast path's thread, if the client goes before the request is answered."""
        self.on_cancel = on_cancel
        if not self._gateway.has(self.number):
            on_cancel()

    def answer(self, payload: bytes) -> None:
        """Send the response, or that the budget of bytes is spent."""
        if (len(payload) > SMALL or self.held_bytes) and not self.hold_response(payload):
            return
        if not self.is_answered:
            count_http_answer(answering.counts)
        self._finish(0, payload, "")

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
        self._gateway.answered(self, status, response, message)


class GatewayBatch:
    """The requests of one message, as the fast path gets them.

    Attributes:
        payload: Of a size that is not taken for that of one small request.
        requests: The requests.
    """

    __slots__ = ("requests",)

    payload = bytes(SMALL + 1)

    def __init__(self, requests: list[GatewayRequest]) -> None:
        self.requests = requests


class GatewayStream(CoreStream):
    """The stream of a gateway."""

    __slots__ = (
        "_answers", "_count", "_end_error", "_in_flight", "_is_ending", "_is_sending", "_must_say", "_on_end",
        "_said_at", "_sent_requests",
    )  # fmt: skip

    def __init__(
        self,
        door: FastDoor,
        call: Any,  # noqa: ANN401 - grpcio's own
        on_end: Callable[["GatewayStream"], None],
    ) -> None:
        """Take a call; `on_end` is called when its last event has come."""
        super().__init__(door, call)
        self._on_end = on_end
        self._in_flight: dict[int, GatewayRequest] = {}  # not answered
        self._count = 0  # of these, and of those whose answers have not been sent
        self._answers: list[tuple[GatewayRequest, int, bytes, str]] = []
        self._sent_requests: list[GatewayRequest] = []
        self._is_ending = self._is_sending = False
        self._must_say, self._said_at = False, 0.0  # that the server goes; when it was first to be said
        self._end_error: ServeError | None = None

    def begin(self) -> None:
        """Say that it is taken, by a message without answers; wait for its messages, and for its end."""
        with self._lock:
            self._start_waiting_for_close()
            self._is_sending = True
            self._start_message(b"")
            self._receive()

    @property
    def in_flight(self) -> int:
        """How many of its requests are in hand, with those whose answers have not been sent."""
        return self._count

    def has(self, number: int) -> bool:
        """Whether a request is in hand, and its client is there, as far as is known."""
        return number in self._in_flight

    def answered(self, request: GatewayRequest, status: int, response: bytes, message: str) -> None:
        """Send an answer, with others that have come while one was being sent."""
        with self._lock:
            self._in_flight.pop(request.number, None)
            if not self.is_open:
                request.let_go()
                return
            self._answers.append((request, status, response, message))
            if self._door.handing_on != threading.get_ident():
                self._send()

    def send_collected(self) -> None:
        """Send what has been answered while the fast path handed on what had arrived: together, as it has come."""
        if self._answers:
            with self._lock:
                self._send()

    def end(self) -> None:
        """Tell the gateway that the server goes: it half-closes, and has what it has written until then answered.

        If it has not half-closed some time after the first call, the next call ends the stream when its requests in
        flight are answered. To end it at once would lose requests: of a message that the gateway writes meanwhile, gRPC
        says that the stream broke, so that the gateway cannot know whether they were run. For another thread than the
        fast path's.
        """
        with self._lock:
            if not self._said_at:
                self._must_say, self._said_at = True, now()
            elif now() - self._said_at >= _FAREWELL_SECONDS:
                self._is_ending = True
            self._send()

    def _received(self, event: Any) -> GatewayBatch | None:  # noqa: ANN401 - grpcio's own
        payload = event.batch_operations[0].message()
        made: list[GatewayRequest] = []
        cancelled: list[GatewayRequest] = []
        with self._lock:
            self._operations -= 1
            self._is_receiving = False
            if payload is None or self._is_ending or not self.is_open:
                self._is_ending = True  # what has come now is not answered: the gateway asks another server
            else:
                try:
                    message = front_pb2.FrontRequests.FromString(payload)
                except DecodeError:
                    self._is_ending, self._end_error = True, InvalidRequest("this is not a message of an HTTP gateway")
                else:
                    at = now()
                    made = [GatewayRequest(self._door, self, entry, at) for entry in message.entries]
                    self._in_flight.update([(request.number, request) for request in made])
                    self._count += len(made)
                    gone = [self._in_flight.pop(number, None) for number in message.cancelled]
                    cancelled = [request for request in gone if request is not None]
            self._receive()
            self._send()
        for request in cancelled:
            if request.on_cancel is not None:
                request.on_cancel()
        self._tell_if_over()
        return GatewayBatch(made) if made else None

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
            self.is_open = False
            cut_off = list(self._in_flight.values())
            self._in_flight.clear()
            for request, *_ in self._answers:
                request.let_go()
            self._answers.clear()
        for request in cut_off:
            if request.on_cancel is not None:
                request.on_cancel()
        self._tell_if_over()

    def _send(self) -> None:
        """Send the answers that there are, or the end. With the lock."""
        if self._is_sending or self._has_status or not self.is_open:
            return
        if self._answers or self._must_say:
            message = front_pb2.FrontAnswers(is_ending=self._must_say)
            self._must_say = False
            add = message.entries.add
            for request, status, response, said in self._answers:
                add(number=request.number, response=response, status=status, message=said)
                self._sent_requests.append(request)
            self._answers.clear()
            self._is_sending = True
            self._start_message(message.SerializeToString())
        elif self._is_ending and not self._count:
            self._has_status = True  # a message that is arriving is not answered
            self._start((self._core.status(self._end_error),), self._send_tag)

    def _receive(self) -> None:
        """Receive a message, where one may come. With the lock."""
        if not (self._is_receiving or self._is_ending) and self.is_open and self._count < _IN_FLIGHT:
            self._start_receiving()

    def _tell_if_over(self) -> None:
        """Tell the fast path when the stream has closed and its last event has come. On its thread."""
        if not (self.is_open or self._operations):
            self._drop_tags()
            self._on_end(self)
