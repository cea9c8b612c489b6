"""`/v2/systemsharedmemory/…` and `/v2/cudasharedmemory/…`: the server registers no region, and says so."""

from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.message import Message

from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.app.exchange import Answer, Exchange, json_answer

__all__ = ["register", "status", "unregister"]

Handler = Callable[[Exchange], Awaitable[Answer]]

_MESSAGES: dict[str, dict[str, tuple[type[Any], type[Any]]]] = {
    "System": {
        "Status": (pb.SystemSharedMemoryStatusRequest, pb.SystemSharedMemoryStatusResponse),
        "Register": (pb.SystemSharedMemoryRegisterRequest, pb.SystemSharedMemoryRegisterResponse),
        "Unregister": (pb.SystemSharedMemoryUnregisterRequest, pb.SystemSharedMemoryUnregisterResponse),
    },
    "Cuda": {
        "Status": (pb.CudaSharedMemoryStatusRequest, pb.CudaSharedMemoryStatusResponse),
        "Register": (pb.CudaSharedMemoryRegisterRequest, pb.CudaSharedMemoryRegisterResponse),
        "Unregister": (pb.CudaSharedMemoryUnregisterRequest, pb.CudaSharedMemoryUnregisterResponse),
    },
}


def status(kind: str) -> Handler:
    """Make the handler that lists regions, or one of them: of "System" or "Cuda" memory."""

    async def handle(exchange: Exchange) -> Answer:
        await _call(exchange, kind, "Status")
        return json_answer([])

    return handle


def register(kind: str) -> Handler:
    """Make the handler that has the server refuse a region."""

    async def handle(exchange: Exchange) -> Answer:
        await exchange.body()
        await _call(exchange, kind, "Register")
        return json_answer({})

    return handle


def unregister(kind: str) -> Handler:
    """Make the handler that unregisters a region, or all: clients do so before they begin."""

    async def handle(exchange: Exchange) -> Answer:
        await exchange.body()
        await _call(exchange, kind, "Unregister")
        return json_answer({})

    return handle


async def _call(exchange: Exchange, kind: str, what: str) -> None:
    request, answer = _MESSAGES[kind][what]
    message: Message = request(name=exchange.parameter("region"))
    await exchange.upstream.call(f"{kind}SharedMemory{what}", message, answer, exchange.context())
