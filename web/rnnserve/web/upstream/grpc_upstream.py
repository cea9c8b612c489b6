"""The server behind the front, or several, over gRPC channels of asyncio."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Self, TypeVar, cast

import grpc
from google.protobuf.message import Message

from rnnserve.client.channel import channel_options
from rnnserve.client.endpoint import Endpoint
from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.errors import RestError
from rnnserve.web.upstream.exchange_stream import ExchangeStream, NotTaken
from rnnserve.web.upstream.sequence_ids import keep_ids_apart, place_of_sequence
from rnnserve.web.upstream.statuses import NO_SERVER_HEADERS, NOT_CONNECTED, error_of_status
from rnnserve.web.upstream.upstream import CallContext

__all__ = ["GrpcUpstream", "NotConnected"]

_log = logging.getLogger(__name__)

Answered = TypeVar("Answered", bound=Message)

_SERVICE = "inference.GRPCInferenceService"
_MOST_ANSWER_BYTES = -1
"""The server bounds its answers (--max-response-bytes), and says so."""

_SMALL, _SMALL_HEADERS = 64 << 10, 8 << 10
"""Bytes of a request, and characters of what goes with it, that goes with others in one message; a larger one is a call
of its own, whose bounds are gRPC's."""

_SOCKET_OPTIONS = [("grpc.default_authority", "localhost")]
"""Where the path of a socket stands for the name of a host, gRPC's server refuses the call."""


class NotConnected(RestError):
    """No server answers: the request has reached none."""


class GrpcUpstream:
    """Implements `Upstream`.

    Attributes:
        trusts_peer: Whether the server believes what the metadata say of the client's address.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        staying: Sequence[grpc.aio.Channel] = (),
        trusts_peer: bool,
        share_sequences: bool = False,
    ) -> None:
        """Speak on channels, which are closed with this.

        Args:
            channel: Channel of the loop that runs.
            staying: Channels for the requests of sequences, each of which stays with one server and sends nothing
                twice; none where `channel` does.
            trusts_peer: Whether the server believes what the metadata say of the client's address.
            share_sequences: Whether clients share the ids of their sequences, where it does not.
        """
        self.trusts_peer = trusts_peer
        self._keeps_ids_apart = not (trusts_peer or share_sequences)
        self._channel = channel
        self._is_lost = False
        self._exchange = ExchangeStream(channel) if trusts_peer else None
        self._staying = staying
        self._infer, *self._infer_staying = (
            _method(each, "ModelInfer", pb.ModelInferResponse.FromString) for each in (channel, *staying)
        )
        self._methods: dict[str, grpc.aio.UnaryUnaryMultiCallable[Message, Message]] = {}

    @classmethod
    def at_socket(cls, path: str) -> Self:
        """Speak to the server at its private socket."""
        options = [*channel_options(_MOST_ANSWER_BYTES), *_SOCKET_OPTIONS]
        return cls(grpc.aio.insecure_channel(f"unix:{path}", options), trusts_peer=True)

    @classmethod
    def at_endpoint(cls, endpoint: Endpoint, *, share_sequences: bool = False) -> Self:
        """Speak to a server at its port, or to several: requests go to each in turn, those of a sequence to one.

        Args:
            endpoint: Address of the server, or those of several. A name among several is looked up once, now.
            share_sequences: Whether clients share the ids of their sequences.

        Raises:
            InvalidRequest: A file for TLS cannot be read.
            Unavailable: None of several names is found.
        """
        options, addresses = channel_options(_MOST_ANSWER_BYTES), endpoint.resolve()
        return cls(
            endpoint.open_async_channel(options, resolved=addresses, repeats=True),
            staying=[
                endpoint.open_async_channel(options, resolved=addresses[at:] + addresses[:at], stays=True)
                for at in range(len(addresses))
            ],
            trusts_peer=False,
            share_sequences=share_sequences,
        )

    async def infer(self, request: pb.ModelInferRequest, context: CallContext) -> pb.ModelInferResponse:
        """Have an inference request answered.

        Raises:
            RestError: With the server's message.
        """
        if self._keeps_ids_apart:
            keep_ids_apart(request, context.client)
        if self._exchange is not None:
            payload = request.SerializeToString()
            stream = self.stream_for(context, len(payload))
            if stream is not None:
                try:
                    return await stream.infer(payload, context)
                except NotTaken as error:
                    if error.is_unknown:
                        self._exchange = None  # a server on the public transport
        method = self._infer
        if self._infer_staying and "sequence_id" in request.parameters:
            method = self._infer_staying[place_of_sequence(request) % len(self._infer_staying)]
        return await self._answer_of(method, request, context)

    def stream_for(self, context: CallContext, size: int) -> ExchangeStream | None:
        """Give the stream on which a request of so many bytes goes; None where it is a call of its own."""
        if size > _SMALL or (context.has_headers and _size(context) > _SMALL_HEADERS):
            return None
        return self._exchange

    async def call(self, method: str, request: Message, answer: type[Answered], context: CallContext) -> Answered:
        """Call another method that has one request and one answer.

        Raises:
            RestError: With the server's message.
        """
        callable_ = self._methods.get(method)
        if callable_ is None:
            callable_ = self._methods[method] = _method(self._channel, method, answer.FromString)
        return cast(Answered, await self._answer_of(callable_, request, context))

    async def close(self, grace: float | None = None) -> None:
        """End the connection to the server: calls in hand may take `grace` seconds to end."""
        if self._exchange is not None and not grace:
            await self._exchange.close()
        await asyncio.gather(*(channel.close(grace) for channel in (self._channel, *self._staying)))

    async def _answer_of(
        self, method: "grpc.aio.UnaryUnaryMultiCallable[Message, Answered]", request: Message, context: CallContext
    ) -> Answered:
        try:
            call = method(request, timeout=context.timeout, metadata=context.metadata)
        except grpc.aio.UsageError:  # closed since this server was chosen for the request, which waited for another way
            raise _not_connected() from None
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise self._told(error) from None

    def _told(self, error: grpc.aio.AioRpcError) -> RestError:
        """The error that a client is told: the server's, or that there is none."""
        said = error.details() or ""
        if error.code() is not grpc.StatusCode.UNAVAILABLE or not said.startswith(NOT_CONNECTED):
            self._is_lost = False
            return error_of_status(error.code(), said)
        if not self._is_lost:
            self._is_lost = True  # a line for each request would say no more
            _log.warning("no server answers: %s", said)
        return _not_connected()


def _method(
    channel: grpc.aio.Channel, name: str, read: Callable[[bytes], Answered]
) -> "grpc.aio.UnaryUnaryMultiCallable[Message, Answered]":
    return channel.unary_unary(f"/{_SERVICE}/{name}", request_serializer=_write, response_deserializer=read)


def _not_connected() -> NotConnected:
    return NotConnected(
        503,
        "the server behind this HTTP front does not answer: it starts, has ended, or is elsewhere (--upstream)",
        headers=NO_SERVER_HEADERS,
    )


def _size(context: CallContext) -> int:
    return sum(len(value) for _, value in context.metadata)


def _write(message: Message) -> bytes:
    return message.SerializeToString()
