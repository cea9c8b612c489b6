"""Servers elsewhere, at their ports, by the client's own way among several (`rnnserve web --upstream`)."""

import asyncio
import logging
from http import HTTPStatus
from typing import TypeVar, cast

import grpc
from google.protobuf.message import Message

from rnnserve.client.channel import channel_options
from rnnserve.client.endpoint import Endpoint
from rnnserve.client.remote_calls import Place
from rnnserve.client.server_channels import ServerChannels
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.protocol_words import AUTHORIZATION, SEQUENCE_ID
from rnnserve.web.errors import RestError
from rnnserve.web.upstream.answers import Answers, not_connected
from rnnserve.web.upstream.sequence_ids import keep_ids_apart
from rnnserve.web.upstream.sequence_places import SequencePlaces
from rnnserve.web.upstream.upstream import CallContext

__all__ = ["ListedServers"]

_log = logging.getLogger(__name__)

Answered = TypeVar("Answered", bound=Message)

_MOST_ANSWER_BYTES = -1
"""The servers bound their answers (4 times --max-message-bytes), and say so."""


class ListedServers:
    """Implements `Upstream`: requests go to each server in turn, those of a sequence to one, which gets each once.

    Attributes:
        trusts_peer: Whether servers believe what the metadata say of the client's address.
    """

    trusts_peer = False

    def __init__(self, endpoint: Endpoint, *, share_sequences: bool = False) -> None:
        """Find the servers.

        Args:
            endpoint: Address of the server, or those of several, whose names are looked up once.
            share_sequences: Whether clients share the ids of their sequences.

        Raises:
            InvalidRequest: A file for TLS cannot be read.
            Unavailable: None of several names is found.
        """
        self._endpoint = endpoint
        self._options = channel_options(_MOST_ANSWER_BYTES)
        self._share_sequences = share_sequences
        self._places = SequencePlaces()
        self._answers = Answers()
        self._has_told_of_token = False
        self._channels: ServerChannels[grpc.aio.Channel] = ServerChannels(endpoint.resolve, self._open)
        self._channels.find()

    async def infer(self, request: pb.ModelInferRequest, context: CallContext) -> pb.ModelInferResponse:
        """Have an inference request answered.

        Raises:
            RestError: With the server's message.
        """
        if SEQUENCE_ID not in request.parameters:
            return cast(pb.ModelInferResponse, await self._call("ModelInfer", request, context, None))
        if not self._share_sequences:
            keep_ids_apart(request, context.client)
        place = self._places.place_of(request, self._channels.addresses)
        return cast(pb.ModelInferResponse, await self._call("ModelInfer", request, context, place))

    def stream_for(self, context: CallContext, size: int) -> None:
        """Give no stream: each request is a call of its own."""

    async def call(
        self,
        method: str,
        request: Message,
        answer: type[Answered],  # noqa: ARG002 - the stub has it
        context: CallContext,
    ) -> Answered:
        """Call another method that has one request and one answer.

        Raises:
            RestError: With the server's message.
        """
        return cast(Answered, await self._call(method, request, context, None))

    async def close(self) -> None:
        """End the connections."""
        await asyncio.gather(*(channel.close() for channel in self._channels.close()))

    async def _call(self, method: str, request: Message, context: CallContext, place: Place | None) -> Message:
        if self._channels.is_closed:
            raise not_connected()
        headers = () if place is None else tuple(place.headers)  # by which a proxy finds the server, too
        brings_token = any(key == AUTHORIZATION for key, _ in context.metadata)
        if not brings_token:
            headers += self._endpoint.headers
        call = getattr(self._channels.stub(place), method)
        try:
            answered: Message = await self._answers.of(call, request, context, headers)
        except RestError as error:
            if error.status == HTTPStatus.UNAUTHORIZED and not brings_token:
                self._tell_of_token(error)
            raise
        return answered

    def _tell_of_token(self, error: RestError) -> None:
        """Log, once, how this front sends a token, or a certificate, of its own for clients that bring none."""
        if not self._has_told_of_token:
            self._has_told_of_token = True
            _log.warning(
                "a client that brought no token was refused: %s; this front sends its own for them with --token-file "
                "FILE or RNNSERVE_TOKEN_FILE, and a certificate with --upstream-tls-certificate and --upstream-tls-key",
                error,
            )

    def _open(self, addresses: list[str], stays: bool) -> grpc.aio.Channel:
        return self._endpoint.open_async_channel(self._options, resolved=addresses, repeats=not stays, stays=stays)
