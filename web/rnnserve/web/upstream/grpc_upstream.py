"""A server of this machine behind the front, over a gRPC channel of asyncio to its private socket."""

from collections.abc import Callable
from typing import Self, TypeVar, cast

import grpc
from google.protobuf.message import Message

from rnnserve.client.channel import channel_options
from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.upstream.answers import Answers
from rnnserve.web.upstream.exchange_stream import ExchangeStream, NotTaken
from rnnserve.web.upstream.upstream import CallContext

__all__ = ["GrpcUpstream"]

Answered = TypeVar("Answered", bound=Message)

_SERVICE = "inference.GRPCInferenceService"
_MOST_ANSWER_BYTES = -1
"""The server bounds its answers (4 times --max-message-bytes), and says so."""

_SMALL, _SMALL_HEADERS = 64 << 10, 8 << 10
"""Bytes of a request, and characters of what goes with it, that goes with others in one message; a larger one is a call
of its own, whose bounds are gRPC's."""

_SOCKET_OPTIONS = [("grpc.default_authority", "localhost")]
"""Where the path of a socket stands for the name of a host, gRPC's server refuses the call."""


class GrpcUpstream:
    """Implements `Upstream`.

    Attributes:
        trusts_peer: Whether the server believes what the metadata say of the client's address: on this socket it does.
    """

    trusts_peer = True

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Speak on a channel of the loop that runs, which is closed with this."""
        self._channel = channel
        self._answers = Answers()
        self._exchange: ExchangeStream | None = ExchangeStream(channel)
        self._infer = _method(channel, "ModelInfer", pb.ModelInferResponse.FromString)
        self._methods: dict[str, grpc.aio.UnaryUnaryMultiCallable[Message, Message]] = {}

    @classmethod
    def at_socket(cls, path: str) -> Self:
        """Speak to the server at its private socket."""
        options = [*channel_options(_MOST_ANSWER_BYTES), *_SOCKET_OPTIONS]
        return cls(grpc.aio.insecure_channel(f"unix:{path}", options))

    async def infer(self, request: pb.ModelInferRequest, context: CallContext) -> pb.ModelInferResponse:
        """Have an inference request answered.

        Raises:
            RestError: With the server's message.
        """
        if self._exchange is not None:
            payload = request.SerializeToString()
            stream = self.stream_for(context, len(payload))
            if stream is not None:
                try:
                    return await stream.infer(payload, context)
                except NotTaken as error:
                    if error.is_unknown:
                        self._exchange = None  # a server with --plain
        return await self._answers.of(self._infer, request, context)

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
        return cast(Answered, await self._answers.of(callable_, request, context))

    async def close(self, grace: float | None = None) -> None:
        """End the connection to the server: calls in hand may take `grace` seconds to end."""
        if self._exchange is not None and not grace:
            await self._exchange.close()
        await self._channel.close(grace)


def _method(
    channel: grpc.aio.Channel, name: str, read: Callable[[bytes], Answered]
) -> "grpc.aio.UnaryUnaryMultiCallable[Message, Answered]":
    return channel.unary_unary(f"/{_SERVICE}/{name}", request_serializer=_write, response_deserializer=read)


def _size(context: CallContext) -> int:
    return sum(len(value) for _, value in context.metadata)


def _write(message: Message) -> bytes:
    return message.SerializeToString()
