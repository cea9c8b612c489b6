"""The servers of one machine behind a front: each worker has a socket in a folder that only their user can open.

Which there are changes: workers are replaced, and leave. So the folder is looked at again and again. All requests of
one connection of a client go to the same worker while the workers are the same ones, where the sequences that it has
begun are; where a worker has gone, or does not listen yet, another one is asked.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.protocol_words import PEER
from rnnserve.web.errors import RestError
from rnnserve.web.upstream.answers import NotConnected
from rnnserve.web.upstream.grpc_upstream import GrpcUpstream
from rnnserve.web.upstream.statuses import NO_SERVER_HEADERS
from rnnserve.web.upstream.upstream import CallContext, SharedStream

__all__ = ["PrivateSockets"]

Answered = TypeVar("Answered", bound=Message)

_LOOK_SECONDS = 0.5
_LEAVING_SECONDS = 60.0
"""Seconds that calls to a worker whose socket has gone may take to end."""

_MOST_ORDERS = 4096
"""Clients whose order of workers is kept: as many as there are connections, as a rule."""


class PrivateSockets:
    """Implements `Upstream`.

    Attributes:
        trusts_peer: Whether servers believe what the metadata say of the client's address: on these sockets they do.
    """

    trusts_peer = True

    def __init__(self, folder: Path) -> None:
        """Look at the folder from now on. For a loop that runs.

        Args:
            folder: Folder with a socket of each worker; it may be empty yet.
        """
        self._folder = folder
        self._workers: dict[str, GrpcUpstream] = {}
        self._orders: dict[str, list[GrpcUpstream]] = {}  # by the client's address
        self._look()
        self._looking = asyncio.create_task(self._keep_looking())
        self._closing: set[asyncio.Task[None]] = set()

    async def infer(self, request: pb.ModelInferRequest, context: CallContext) -> pb.ModelInferResponse:
        """Have an inference request answered.

        Raises:
            RestError: With the server's message.
        """
        tried: list[GrpcUpstream] = []
        if len(self._workers) == 1:
            tried = list(self._workers.values())
            with contextlib.suppress(NotConnected):
                return await tried[0].infer(request, context)
        return await self._ask_one(context, lambda worker: worker.infer(request, context), tried)

    def stream_for(self, context: CallContext, size: int) -> SharedStream | None:
        """Give the stream on which a request of so many bytes goes; None where it is a call of its own."""
        workers = self._in_order(context)
        return workers[0].stream_for(context, size) if workers else None

    async def call(self, method: str, request: Message, answer: type[Answered], context: CallContext) -> Answered:
        """Call another method that has one request and one answer.

        Raises:
            RestError: With the server's message.
        """
        return await self._ask_one(context, lambda worker: worker.call(method, request, answer, context), [])

    async def close(self) -> None:
        """End the connections."""
        self._looking.cancel()
        for worker in self._workers.values():
            await worker.close()
        for task in list(self._closing):
            task.cancel()

    async def _ask_one(
        self, context: CallContext, ask: Callable[[GrpcUpstream], Awaitable[Answered]], tried: list[GrpcUpstream]
    ) -> Answered:
        """Ask one worker after another until one can be reached: those that have come meanwhile, too.

        Args:
            context: Metadata and time for the call.
            ask: Function that asks a worker.
            tried: Workers that were asked already.

        Raises:
            RestError: With the server's message, or since no worker can be reached.
        """
        has_looked = False
        while True:
            worker = next((each for each in self._in_order(context) if each not in tried), None)
            if worker is not None:
                tried.append(worker)
                with contextlib.suppress(NotConnected):
                    return await ask(worker)
            elif has_looked:
                raise _none()
            else:
                has_looked = True
                self._look()  # all have gone since the last look: others may have come

    def _in_order(self, context: CallContext) -> list[GrpcUpstream]:
        """The workers, that of the client's connection first."""
        if not self._workers:
            self._look()
        if len(self._workers) < 2:
            return list(self._workers.values())
        peer = next((value for key, value in context.metadata if key == PEER), "")
        order = self._orders.get(peer)
        if order is not None:
            return order

        def rank(name: str) -> bytes:
            return hashlib.blake2b(f"{peer} {name}".encode(), digest_size=8).digest()

        if len(self._orders) >= _MOST_ORDERS:
            self._orders.clear()
        order = self._orders[peer] = [self._workers[name] for name in sorted(self._workers, key=rank)]
        return order

    def _look(self) -> None:
        there = {path.name for path in self._folder.glob("*.sock") if _is_of_living(path)}
        if self._workers.keys() != there:
            self._orders.clear()
        for name in self._workers.keys() - there:
            task = asyncio.create_task(self._workers.pop(name).close(_LEAVING_SECONDS))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        for name in sorted(there - self._workers.keys()):
            self._workers[name] = GrpcUpstream.at_socket(str(self._folder / name))

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self._look()


def _is_of_living(path: Path) -> bool:
    """Whether the process that a socket is named after lives: one that was killed has left its socket behind."""
    if not path.stem.isdigit() or Path("/proc", path.stem).exists():
        return True
    path.unlink(missing_ok=True)
    return False


def _none() -> RestError:
    return RestError(
        503,
        "no server behind this HTTP front answers: it starts, or has ended",
        headers=NO_SERVER_HEADERS,
    )
