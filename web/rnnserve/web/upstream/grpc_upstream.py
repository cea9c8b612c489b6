"""Calls one server over an asyncio gRPC channel, at its private socket or its port."""

import hashlib
import logging
import secrets
from collections.abc import Callable
from typing import Self, TypeVar, cast

import grpc
from google.protobuf.message import Message

from rnnserve.client.channel import channel_options
from rnnserve.client.endpoint import Endpoint
from rnnserve.client.errors import from_rpc_error
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.protocol_words import SEQUENCE_ID, SEQUENCE_KEY
from rnnserve.web.errors import NO_SERVER_HEADERS, NOT_CONNECTED, RestError, error_of_status
from rnnserve.web.upstream.exchange_stream import ExchangeStream, NotTaken
from rnnserve.web.upstream.upstream import CallContext

__all__ = ["GrpcUpstream", "NotConnected"]

_log = logging.getLogger(__name__)

Answered = TypeVar("Answered", bound=Message)

_SERVICE = "inference.GRPCInferenceService"
_MOST_ANSWER_BYTES = -1
"""No limit, because the server limits its responses to 4 times --max-message-bytes."""

_SMALL, _SMALL_HEADERS = 64 << 10, 8 << 10
"""Largest request, in bytes, and largest metadata, in characters, for the shared stream. A larger request gets a
separate call."""

_SECRET = secrets.token_bytes(32)


class NotConnected(RestError):
    """The request didn't reach a server."""

    def __init__(self) -> None:
        message = (
            "the server behind this HTTP gateway does not respond: it is starting, has ended, or has another address "
            "(--upstream)"
        )
        super().__init__(503, message, headers=NO_SERVER_HEADERS)


class GrpcUpstream:
    """Implements `Upstream` for one server.

    `trusts_peer` is true for a private socket: there, the server trusts the client address in the metadata.
    """

    def __init__(self, channel: grpc.aio.Channel, *, trusts_peer: bool = True) -> None:
        self.trusts_peer = trusts_peer
        self._channel = channel
        self._exchange = ExchangeStream(channel) if trusts_peer else None
        self._infer = _method(channel, "ModelInfer", pb.ModelInferResponse.FromString)
        self._methods: dict[str, grpc.aio.UnaryUnaryMultiCallable[Message, Message]] = {}
        self._is_lost = False

    @classmethod
    def at_socket(cls, path: str) -> Self:
        """Call the server at its private socket."""
        # By default, the authority is the socket's path, and gRPC servers refuse a call with it.
        options = [*channel_options(_MOST_ANSWER_BYTES), ("grpc.default_authority", "localhost")]
        return cls(grpc.aio.insecure_channel(f"unix:{path}", options))

    @classmethod
    def at_port(cls, endpoint: Endpoint) -> Self:
        """Call the server at its port. All clients of the gateway share one connection to the server."""
        options = channel_options(_MOST_ANSWER_BYTES)
        return cls(endpoint.open_async_channel(options, stays=True), trusts_peer=False)

    async def infer(self, request: pb.ModelInferRequest, context: CallContext) -> pb.ModelInferResponse:
        """Send an inference request and return the response. Raises RestError with the server's message."""
        if self._exchange is not None:
            payload = request.SerializeToString()
            if len(payload) <= _SMALL and (len(context.metadata) < 3 or _size(context) <= _SMALL_HEADERS):
                try:
                    return await self._exchange.infer(payload, context)
                except NotTaken as error:
                    if error.is_unknown:
                        self._exchange = None  # a server with --plain
        if not self.trusts_peer:
            _keep_ids_apart(request, context.client)
        return await self._answer(self._infer, request, context)

    async def call(self, method: str, request: Message, answer: type[Answered], context: CallContext) -> Answered:
        """Call another method. Raises RestError with the server's message."""
        callable_ = self._methods.get(method)
        if callable_ is None:
            callable_ = self._methods[method] = _method(self._channel, method, answer.FromString)
        return cast(Answered, await self._answer(callable_, request, context))

    async def close(self, grace: float | None = None) -> None:
        """Close the connection. Calls in flight have `grace` seconds to finish."""
        if self._exchange is not None and not grace:
            await self._exchange.close()
        await self._channel.close(grace)

    async def _answer(
        self,
        method: "Callable[..., grpc.aio.UnaryUnaryCall[Message, Answered]]",
        request: Message,
        context: CallContext,
    ) -> Answered:
        try:
            return await method(request, timeout=context.timeout, metadata=context.metadata)
        except grpc.aio.UsageError:  # the channel was closed after this server was chosen
            raise NotConnected from None
        except grpc.aio.AioRpcError as error:
            said = error.details() or ""
            if error.code() is not grpc.StatusCode.UNAVAILABLE or not said.startswith(NOT_CONNECTED):
                self._is_lost = False
                raise error_of_status(error.code(), said, from_rpc_error(error).retry_after) from None
            if not self._is_lost:
                self._is_lost = True  # log once, not for each request
                _log.warning("no server responds: %s", said)
            raise NotConnected from None


def _keep_ids_apart(request: pb.ModelInferRequest, client: str) -> None:
    """Add a key to the client's sequence ID, so that two clients with the same ID don't share a sequence.

    A server separates sequence IDs by connection, but a server at a port sees one connection for the whole gateway.
    """
    if client and SEQUENCE_ID in request.parameters and SEQUENCE_KEY not in request.parameters:
        digest = hashlib.blake2b(client.encode(), key=_SECRET, digest_size=24)
        request.parameters[SEQUENCE_KEY].string_param = digest.hexdigest()


def _method(
    channel: grpc.aio.Channel, name: str, read: Callable[[bytes], Answered]
) -> "grpc.aio.UnaryUnaryMultiCallable[Message, Answered]":
    return channel.unary_unary(
        f"/{_SERVICE}/{name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=read,
    )


def _size(context: CallContext) -> int:
    return sum(len(value) for _, value in context.metadata)
