"""The HTTP gateway's stream, on which one message carries many requests: all that the gateway read in one loop turn.

A unary call per request would cost the gateway 170 microseconds of CPU time, and the server 15. Within a shared
message, a request costs each of them a few microseconds. The stream is accepted only over the private socket. Each of
its requests belongs to a separate client, to which shares and budgets apply.

Requests are answered in any order, as soon as possible. While responses are being sent, further responses wait for
the next message.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from rnnserve.protos import front_pb2
from rnnserve.protos.access_table import Need
from rnnserve.protos.protocol_words import CERTIFICATE, REQUEST_ID
from rnnserve.server.access.gate import Gate
from rnnserve.server.clock import now
from rnnserve.server.connections.byte_budget import SMALL
from rnnserve.server.connections.private_socket import of_http
from rnnserve.server.counting.table import answering, count_http_answer
from rnnserve.server.errors import InvalidRequest, ServeError
from rnnserve.server.fast_path.calls import ArrivedRequest, FastDoor, RequestBatch
from rnnserve.server.fast_path.streams import CoreStream
from rnnserve.server.fast_path.templates import read_id
from rnnserve.server.observing.origins import Origin, origin_of

__all__ = ["GatewayRequest", "GatewayStream"]

_IN_FLIGHT = 2048
"""Requests of one stream in flight, including unsent responses. Beyond it: further requests wait in the gateway."""

_MOST_BYTES = 1 << 20
"""Bytes of responses at which a message is full. The gateway counts a response only when it has the whole message, and
holds several copies of it until then: 30 responses of 2 MB in one message took 400 MB there."""

_NO_HEADERS: Mapping[str, str] = {}

_CODES = {code.name: code.value[0] for code in grpc.StatusCode}


class GatewayRequest(ArrivedRequest):
    """One request of a message."""

    __slots__ = ("_gateway", "headers", "number", "on_cancel", "request_id")

    stream = None

    def __init__(self, door: FastDoor, gateway: "GatewayStream", entry: Any, arrived: float) -> None:  # noqa: ANN401 - a message
        """Create a request from an entry of a message. `arrived` is in seconds on `clock`."""
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
        self.number: int = entry.number  # assigned by the gateway
        self.request_id: str = entry.request_id  # its name in logs
        # Further headers of the client, which the server trusts as much as a call's metadata.
        self.headers: Mapping[str, str] = dict(entry.headers) if entry.headers else _NO_HEADERS
        self.on_cancel: Callable[[], None] | None = None  # called if the client disconnects before the response

    def origin(self) -> Origin:
        """Return the request's origin. Valid only before the response."""
        said = ((REQUEST_ID, self.request_id), *self.headers.items())
        return origin_of(self._connection, said, read_id(self.payload), "ModelInfer")

    def pass_gate(self, gate: Gate) -> None:
        """Check the credentials that the client sent to the gateway."""
        grant = gate.grant_with(Need.INFER, self.headers.items(), lambda: self.headers.get(CERTIFICATE, ""))
        self.let_in(grant)

    def watch(self, on_cancel: Callable[[], None]) -> None:
        """Call `on_cancel` on the fast path's thread if the client disconnects before the response."""
        self.on_cancel = on_cancel
        if not self._gateway.has(self.number):
            on_cancel()

    def answer(self, payload: bytes) -> None:
        """Send the response, or an error if the byte budget is exhausted."""
        if (len(payload) > SMALL or self.held_bytes) and not self.hold_response(payload):
            return
        if self.is_answered:
            return  # after a failure within a batch, every request of the batch may be refused
        self.is_answered = True
        self.payload = b""
        count_http_answer(answering.counts)
        self._gateway.answered(self, 0, payload, "")

    def _send_error(self, error: ServeError, _: str) -> None:
        self._gateway.answered(self, _CODES[error.status], b"", str(error))


class GatewayStream(CoreStream):
    """The stream of a gateway."""

    __slots__ = ("_answered", "_is_ending", "_is_told", "_must_tell", "_sending", "_waiting", "in_flight")

    def __init__(self, door: FastDoor, call: Any, on_end: Callable[["GatewayStream"], None]) -> None:  # noqa: ANN401 - grpcio's type
        super().__init__(door, call, on_end)
        self._waiting: dict[int, GatewayRequest] = {}  # unanswered requests
        self.in_flight = 0  # requests, including requests with unsent responses
        self._answered: deque[tuple[GatewayRequest, int, bytes, str]] = deque()  # with unsent responses
        self._sending: list[GatewayRequest] | None = None  # the requests whose responses are being sent (None if idle)
        self._is_ending = False
        self._is_told = self._must_tell = False  # about the server's shutdown

    def begin(self) -> None:
        """Accept the stream with an empty message, and wait for its messages and its end."""
        with self._lock:
            self._start((self._core.new_close(),), self._closed)
            self._sending = []
            self._start_sending(self._core.send_message(b"", 0))
            self._receive()

    def has(self, number: int) -> bool:
        """Return whether a request is unanswered and its client is, as far as known, still connected."""
        return number in self._waiting

    def answered(self, request: GatewayRequest, status: int, response: bytes, message: str) -> None:
        """Send a response, together with those collected while another message was being sent."""
        with self._lock:
            request.on_cancel = None
            self._waiting.pop(request.number, None)
            if not self.is_open:
                request.let_go()
                return
            self._answered.append((request, status, response, message))
            if self._door.handing_on != threading.get_ident():
                self._send()

    def send_collected(self) -> None:
        """Send the responses collected during a dispatch in one message."""
        if self._answered:
            with self._lock:
                self._send()

    def end(self) -> None:
        """Announce the shutdown. The gateway then half-closes, and its previous requests are answered.

        A second call, a second later, ends the stream after its requests in flight, even if the gateway has not
        half-closed. Ending the stream at once would lose requests: if the gateway is just writing a message, gRPC
        reports a broken stream, so the gateway can't know whether the requests were run.
        """
        with self._lock:
            if self._is_told:
                self._is_ending = True
            else:
                self._is_told = self._must_tell = True
            self._send()

    def _received(self, event: Any) -> RequestBatch | None:  # noqa: ANN401 - grpcio's type
        payload = event.batch_operations[0].message()
        made = RequestBatch()
        with self._lock:
            self._operations -= 1
            self._is_receiving = False
            if payload is None or self._is_ending or not self.is_open:
                self._is_ending = True  # later requests are not answered: the gateway retries them on another server
            else:
                try:
                    message = front_pb2.FrontRequests.FromString(payload)
                except DecodeError:
                    self._is_ending, self._end_error = True, InvalidRequest("this is not a message of an HTTP gateway")
                else:
                    at = now()
                    requests = [GatewayRequest(self._door, self, entry, at) for entry in message.entries]
                    self._waiting.update([(request.number, request) for request in requests])
                    self.in_flight += len(requests)
                    made += requests
                    _cancel(self._waiting.pop(number, None) for number in message.cancelled)
            self._receive()
            self._send()
        self._look_for_end()
        return made or None

    def _sent(self, _: Any) -> None:  # noqa: ANN401 - grpcio's type
        with self._lock:
            self._operations -= 1
            sent, self._sending = self._sending or (), None
            self.in_flight -= len(sent)
            for request in sent:
                if request.held_bytes:
                    request.let_go()
            self._send()
            self._receive()
        self._look_for_end()

    def _closed(self, _: Any) -> None:  # noqa: ANN401 - grpcio's type
        with self._lock:
            self._operations -= 1
            self.is_open = False
            _cancel(self._waiting.values())
            self._waiting.clear()
            for request, *_ in self._answered:
                request.let_go()
            self._answered.clear()
        self._look_for_end()

    def _send(self) -> None:
        """Send collected responses, or the end of the stream. The caller must hold the lock."""
        if self._sending is not None or self._has_status or not self.is_open:
            return
        if self._answered or self._must_tell:
            answers, size = front_pb2.FrontAnswers(is_ending=self._must_tell), 0
            self._must_tell, self._sending = False, []
            while self._answered and size < _MOST_BYTES:
                request, status, response, message = self._answered.popleft()
                answers.entries.add(number=request.number, response=response, status=status, message=message)
                self._sending.append(request)
                size += len(response)
            self._start_sending(self._core.send_message(answers.SerializeToString(), 0))
        elif self._is_ending and not self.in_flight:
            self._start_status(self._core.status(self._end_error))  # a message still arriving is not answered

    def _receive(self) -> None:
        """Receive a message unless there is a reason to wait. The caller must hold the lock."""
        if not (self._is_receiving or self._is_ending) and self.is_open and self.in_flight < _IN_FLIGHT:
            self._start_receiving()


def _cancel(requests: Iterable[GatewayRequest | None]) -> None:
    for request in requests:
        if request is not None and request.on_cancel is not None:
            request.on_cancel()
