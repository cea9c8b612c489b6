"""Calls the workers on one machine. Each worker has a socket in a folder that only its user can open.

Workers stop and are replaced, so the gateway scans the folder regularly. While the set of workers stays the same, all
requests of a client connection go to the same worker, because that worker has the connection's sequences. If the worker
is gone or doesn't listen yet, the gateway calls another one.
"""

import asyncio
import contextlib
import functools
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message

from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.upstream.grpc_upstream import GrpcUpstream, NotConnected
from rnnserve.web.upstream.upstream import CallContext

__all__ = ["PrivateSockets"]

Answered = TypeVar("Answered", bound=Message)

_LOOK_SECONDS = 0.5
_LEAVING_SECONDS = 60.0
"""Seconds that calls in flight have to finish after the worker's socket is gone."""


class PrivateSockets:
    """Implements `Upstream` for the workers on this machine."""

    trusts_peer = True

    def __init__(self, folder: Path) -> None:
        """Start scanning the folder, which may still be empty. Needs a running event loop."""
        self._folder = folder
        self._workers: dict[str, GrpcUpstream] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._look()
        self._looking = asyncio.create_task(self._keep_looking())

    async def infer(self, request: pb.ModelInferRequest, context: CallContext) -> pb.ModelInferResponse:
        """Send an inference request and return the response. Raises RestError with the server's message."""
        return await self._ask_one(context, lambda worker: worker.infer(request, context))

    async def call(self, method: str, request: Message, answer: type[Answered], context: CallContext) -> Answered:
        """Call another method. Raises RestError with the server's message."""
        return await self._ask_one(context, lambda worker: worker.call(method, request, answer, context))

    async def close(self) -> None:
        """Close the connections to all workers."""
        self._looking.cancel()
        for worker in self._workers.values():
            await worker.close()
        for task in list(self._closing):
            task.cancel()

    async def _ask_one(self, context: CallContext, ask: Callable[[GrpcUpstream], Awaitable[Answered]]) -> Answered:
        """Call the workers one after another until one is reachable. Rescans once to include new workers."""
        tried: list[GrpcUpstream] = []
        for _ in range(2):
            for worker in self._in_order(context.client):
                if worker not in tried:
                    tried.append(worker)
                    with contextlib.suppress(NotConnected):
                        return await ask(worker)
            self._look()
        raise NotConnected

    def _in_order(self, client: str) -> list[GrpcUpstream]:
        """Return the workers in the order in which to try them for this client connection."""
        if not self._workers:
            self._look()
        if len(self._workers) < 2:
            return list(self._workers.values())
        return [self._workers[name] for name in sorted(self._workers, key=functools.partial(_rank, client))]

    def _look(self) -> None:
        there = {path.name for path in self._folder.glob("*.sock") if _is_of_living(path)}
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


@functools.lru_cache(1 << 14)
def _rank(client: str, name: str) -> bytes:
    return hashlib.blake2b(f"{client} {name}".encode(), digest_size=8).digest()


def _is_of_living(path: Path) -> bool:
    """Return whether the process in the socket's name is alive. Otherwise removes the socket of the killed process."""
    if not path.stem.isdigit() or Path("/proc", path.stem).exists():
        return True
    path.unlink(missing_ok=True)
    return False
