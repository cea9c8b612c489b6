"""Streams of HTTP gateways on a server's private socket, and a gateway that a test moves message by message."""

import asyncio
import os
import queue
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc

from kit.inference_requests import request
from kit.sequence_requests import walk
from rnnserve.protos import front_pb2
from rnnserve.protos.protocol_words import FRONT_EXCHANGE, PEER
from rnnserve.server import Server
from rnnserve.web.upstream.exchange_stream import ExchangeStream
from rnnserve.web.upstream.grpc_upstream import GrpcUpstream
from rnnserve.web.upstream.upstream import CallContext

_T = TypeVar("_T")

MINE = CallContext(((PEER, "ipv4:10.0.0.1:1111"),), 30.0)


def socket_of(server: Server) -> str:
    """The path of a server's private socket."""
    return f"{server._settings.private_sockets}/{os.getpid()}.sock"


def exchange(channel: grpc.Channel) -> Any:
    """What opens a stream on a channel."""
    return channel.stream_stream(FRONT_EXCHANGE)


def with_stream(server: Server, use: Callable[[ExchangeStream], Awaitable[_T]]) -> _T:
    """Run a coroutine of a stream."""

    async def go() -> _T:
        upstream = GrpcUpstream.at_socket(socket_of(server))
        try:
            return await use(ExchangeStream(upstream._channel))
        finally:
            await upstream.close()

    return asyncio.run(go())


class Front:
    """A front that writes when it is told to, a request in each message, and reads message by message."""

    def __init__(self, server):
        self._channel = grpc.insecure_channel(f"unix:{socket_of(server)}", [("grpc.default_authority", "localhost")])
        self._unsent: Any = queue.SimpleQueue()
        self.call = exchange(self._channel)(iter(self._unsent.get, None))
        self._request = request("direction_simple", {"input": walk(4)}).SerializeToString()

    def write(self, number):
        message = front_pb2.FrontRequests()
        message.entries.add(number=number, request=self._request, peer="ipv4:1.2.3.4:5", timeout=30.0)
        self._unsent.put(message.SerializeToString())

    def half_close(self):
        self._unsent.put(None)

    def read(self):
        """The numbers that the next message answers, and whether it says that the server goes."""
        message = front_pb2.FrontAnswers.FromString(next(self.call))
        return [entry.number for entry in message.entries], message.is_ending

    def close(self):
        self.half_close()
        self._channel.close()
