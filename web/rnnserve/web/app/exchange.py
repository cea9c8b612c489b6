"""The request that handlers receive and the response that they return."""

import asyncio
import functools
import zlib
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from google.protobuf.message import Message

from rnnserve.common.log_lines import new_request_id, usable_id
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.protocol_words import CERTIFICATE, PEER, REQUEST_ID
from rnnserve.web.app.bodies import LARGE, SMALL, Budget, beside_loop
from rnnserve.web.connection import Receive, is_gone, take_arrived_body, task_of
from rnnserve.web.errors import RestError, bad_request
from rnnserve.web.limits import Limits
from rnnserve.web.rest.infer_request import AnswerForm
from rnnserve.web.rest.infer_response import write_infer_response
from rnnserve.web.rest.json_tensors import dump, parse_object
from rnnserve.web.upstream.upstream import CallContext, Upstream

__all__ = ["Answer", "ClientGone", "Exchange", "Scope", "Send", "StreamClosed", "json_answer"]

Answered = TypeVar("Answered", bound=Message)
Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_FORWARDED = (b"authorization", b"traceparent", b"tracestate")
"""Headers that the gateway forwards to the server."""

_FORWARDED_BYTES = 7 << 10
"""Bytes of a forwarded header. gRPC sometimes refuses calls with more than 8 KiB of metadata, with the status of a full
server. Beyond it: 431."""

_BODY_RATE = 64 << 10

_JSON_TIMES = 6
"""Approximate maximum of JSON bytes for one byte of a tensor."""

_CODINGS = (b"identity", b"gzip", b"deflate")


class ClientGone(Exception):
    """The client disconnected before its request was complete or before it received the response."""


class StreamClosed(Exception):
    """The gateway closes a WebSocket with a close code and a reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Answer(NamedTuple):
    """The response that a handler returns. Header names are in lower case."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = MappingProxyType({})


class Exchange:
    """A request. `upstream` is the server to call."""

    certificate = ""  # the client's certificate, as base64-encoded DER
    params: Mapping[str, str] = MappingProxyType({})  # path parameters
    route = ""  # the route's path pattern
    phase = ""  # while waiting for the client: "reading", "writing", or "idle" on a stream
    since = 0.0  # start of the wait, in loop time
    moved = 0  # bytes transferred during the wait
    _held = 0
    _ended_by: Exception | None = None

    def __init__(self, scope: Scope, receive: Receive, upstream: Upstream, budget: Budget, limits: Limits) -> None:
        self.scope = scope
        self.headers: dict[bytes, bytes] = dict(scope["headers"])  # the last value of a repeated header
        given = self.headers.get(b"x-request-id")
        self.request_id = (usable_id(given.decode("latin-1")) if given else "") or new_request_id()
        self.task = task_of(receive)
        self.upstream = upstream
        self.limits = limits
        self.receive = receive
        self._budget = budget

    def parameter(self, name: str) -> str:
        """Return a path parameter, or "" if the route doesn't have it."""
        return self.params.get(name, "")

    def hold(self, size: int) -> None:
        """Count bytes of the request or its response until `let_go`.

        Raises RestError if the budget is used up, unless no other request holds any bytes.
        """
        self._budget.hold(size, self._held)
        self._held += size

    def hold_response(self, size: int) -> None:
        """Count the bytes of a response until `let_go`, in place of all bytes of its request.

        A small response isn't counted: the number of connections limits how many wait to be sent.
        """
        self.let_go()
        if size > SMALL:
            self.hold(size)

    def let_go(self) -> None:
        """Return all counted bytes to the budget."""
        self._budget.held -= self._held
        self._held = 0

    def wait_for_client(self, phase: str) -> None:
        """Start waiting for the client in the given phase. An empty phase ends the wait."""
        self.phase, self.moved = phase, 0
        if phase:
            self.since = asyncio.get_running_loop().time()

    def why_late(self, now: float) -> Exception | None:
        """Return the error if the client has exceeded a deadline, otherwise None."""
        waited, limits = now - self.since, self.limits
        if self.phase == "reading" and waited > limits.body_seconds + self.moved / _BODY_RATE:
            return RestError(408, "the body did not arrive in time; send the request again")
        if self.phase == "writing" and waited > limits.write_seconds:
            return ClientGone()
        if self.phase == "idle" and waited > limits.stream_idle_seconds:
            return StreamClosed(1000, f"the client sent no frame for {limits.stream_idle_seconds:g} s")
        return None

    def end(self, error: Exception) -> None:
        """End the request: cancel its task, in which `why_ended` then returns the error."""
        if self._ended_by is None:
            self._ended_by = error
            self.task.cancel()

    def why_ended(self, otherwise: Exception | None = None) -> Exception:
        """Return why the request was cancelled: by `end`, because the client has disconnected, or `otherwise`.

        Call it while the CancelledError is handled. It raises this error again if it has no reason.
        """
        reason = self._ended_by or (ClientGone() if is_gone(self.receive) else otherwise)
        if reason is None:
            raise
        self.task.uncancel()
        self.phase = ""
        return reason

    async def body(self) -> bytes:
        """Read and decompress the body.

        Raises RestError if the body is too large or damaged, and ClientGone if the client disconnects.
        """
        most = self.limits.max_body_bytes
        length = int(self.headers.get(b"content-length", b"0"))
        if length > most:
            raise self._too_large(f"{length:,} bytes")
        coding = self.headers.get(b"content-encoding", b"identity").lower()
        if coding not in _CODINGS:
            words = f"Content-Encoding is {coding[:100].decode('latin-1')!r}; must be gzip or deflate"
            raise RestError(415, words, headers={"accept-encoding": "gzip, deflate"})
        body = take_arrived_body(self.receive)
        if body is None:
            body = await self._received(most)
        elif len(body) > most:
            raise self._too_large("more")
        else:
            self.hold(len(body))
        if coding != b"identity":
            body = await beside_loop(8 * len(body), _decompressed, body, most)
            self.hold(len(body))
        return body

    async def _received(self, most: int) -> bytes:
        self.wait_for_client("reading")
        whole = bytearray()
        while True:
            message = await self.receive()
            if message["type"] != "http.request":
                raise ClientGone
            arrived: bytes = message.get("body", b"")
            self.moved += len(arrived)
            if self.moved > most:
                raise self._too_large("more")
            self.hold(len(arrived))
            whole += arrived
            if not message.get("more_body", False):
                break
        self.phase = ""
        return bytes(whole)

    async def json(self) -> dict[str, Any]:
        """Read the body as a JSON object. An empty body counts as an empty object."""
        body = await self.body()
        return await beside_loop(len(body), parse_object, body) if body.strip() else {}

    def context(self, timeout: float | None = None) -> CallContext:
        """Return the context for a call for this request. Raises RestError if a header can't be forwarded."""
        metadata = [(REQUEST_ID, self.request_id)]
        metadata += [(name.decode(), _text(name, self.headers[name])) for name in _FORWARDED if name in self.headers]
        client = self.scope.get("client")
        peer = "" if client is None else _name_of_peer(client)
        if peer and self.upstream.trusts_peer:
            if self.certificate:
                metadata.append((CERTIFICATE, self.certificate))
            metadata.append((PEER, peer))  # the server expects it in last place
        return CallContext(tuple(metadata), self.limits.timeout if timeout is None else timeout, peer)

    async def call(self, request: Message, answer: type[Answered], timeout: float | None = None) -> Answered:
        """Call the method of a request, which the request's type names. Raises RestError with the server's message."""
        method = type(request).__name__.removesuffix("Request")
        return await self.upstream.call(method, request, answer, self.context(timeout))

    async def metadata(self) -> pb.ModelMetadataResponse:
        """Request the metadata of the model in the path from the server."""
        request = pb.ModelMetadataRequest(name=self.parameter("model"), version=self.parameter("version"))
        return await self.call(request, pb.ModelMetadataResponse)

    async def write(self, response: pb.ModelInferResponse, form: AnswerForm) -> tuple[bytes, int | None]:
        """Call `write_infer_response`. Raises RestError if the budget has no room for what it may write."""
        size = response.ByteSize()
        if size >= LARGE:
            self.hold(size if form.others_are_binary else _JSON_TIMES * size)
        return await beside_loop(size, write_infer_response, response, form, self.request_id)

    def _too_large(self, what: str) -> RestError:
        return RestError(
            413,
            f"the body has {what}; at most {self.limits.max_body_bytes:,} bytes are allowed (--max-body-bytes). Send "
            "fewer rows (the batch axis) per request, or binary tensors",
        )


def _decompressed(body: bytes, most: int) -> bytes:
    """Decompress a body in the format of gzip or zlib, which its first bytes show. May raise RestError."""
    stream = zlib.decompressobj(32 + zlib.MAX_WBITS)
    try:
        made = stream.decompress(body, most + 1)
    except zlib.error as error:
        raise bad_request(f"the body cannot be decompressed: {error}") from None
    if len(made) > most:
        raise RestError(
            413,
            f"the decompressed body has more than {most:,} bytes, the limit of this server; send fewer rows (the "
            "batch axis) per request",
        )
    if not stream.eof or stream.unused_data:
        raise bad_request("the compressed body must be one complete stream, without bytes after it")
    return made


def json_answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Make a JSON response."""
    return Answer(dump(value), status, headers=headers or {})


@functools.lru_cache(256)
def _name_of_peer(client: tuple[str, int]) -> str:
    """Format a client's address and port in gRPC's format."""
    host, port = client
    return f"ipv6:%5B{host}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"


def _text(name: bytes, value: bytes) -> str:
    if len(value) > _FORWARDED_BYTES:
        raise RestError(
            431,
            f"the header {name.decode()} has {len(value):,} bytes; at most {_FORWARDED_BYTES:,} are allowed",
        )
    text = value.decode("latin-1")
    if not (text.isascii() and text.isprintable()):
        raise bad_request(f"the header {name.decode()} has characters that are not printable ASCII; encode the value")
    return text
