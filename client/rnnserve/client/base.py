"""What both clients are made from, and how long they wait."""

import math
import threading
import time
from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import grpc

from rnnserve.client.channel import channel_options, target
from rnnserve.client.errors import InvalidRequest
from rnnserve.client.operations import Call, Operations
from rnnserve.protos.inference_pb2_grpc import GRPCInferenceServiceStub

__all__ = ["Budget", "ClientBase"]

AnyChannel = TypeVar("AnyChannel", grpc.Channel, grpc.aio.Channel)


class Budget:
    """The time that one operation has, however many calls it makes.

    Args:
        timeout: Seconds; `math.inf` for no limit.
    """

    def __init__(self, timeout: float) -> None:
        if not timeout > 0:
            raise InvalidRequest(f"timeout {timeout}: expected seconds above 0, or math.inf to wait for ever")
        self._end = time.monotonic() + timeout

    def left(self) -> float | None:
        """Return the seconds left, as gRPC takes them: None for no limit, below 0 where time is up."""
        if math.isinf(self._end):
            return None
        left = self._end - time.monotonic()
        # A deadline of this very moment can still be met by a server nearby; one long past cannot.
        return left if left > 0 else -1.0


class ClientBase(ABC, Generic[AnyChannel]):
    """Settings of a client and its channel, which is opened when it is first needed.

    Args:
        url: `"host:port"` or `"grpc://host:port"`.
        timeout: Seconds that an operation may take in all, unless it is given its own; `math.inf` for no limit.
        max_rows: `classify` puts no more sequences than this into one request.
        max_request_bytes: `classify` makes no request, and asks for no answer, with more padded bytes than this,
            except for a sequence that is longer by itself.
        max_message_bytes: The largest answer taken, in place of gRPC's 4 MiB.

    Raises:
        InvalidRequest: A setting that cannot work.
    """

    def __init__(
        self,
        url: str = "127.0.0.1:8001",
        *,
        timeout: float = 10.0,
        max_rows: int = 256,
        max_request_bytes: int = 1 << 20,
        max_message_bytes: int = 64 << 20,
    ) -> None:
        Budget(timeout)
        self._target = target(url)
        self._options = channel_options(max_message_bytes)
        self._timeout = timeout
        self._operations = Operations(max_rows=max_rows, max_request_bytes=max_request_bytes)
        self._lock = threading.Lock()
        self._channel: AnyChannel | None = None
        self._stub: Any = None
        self._closed = False

    @property
    def url(self) -> str:
        """The server's `host:port`."""
        return self._target

    @abstractmethod
    def _open(self) -> AnyChannel:
        """Open a channel to `_target` with `_options`."""

    def _budget(self, timeout: float | None) -> Budget:
        return Budget(self._timeout if timeout is None else timeout)

    def _start(self, call: Call, budget: Budget) -> Any:  # noqa: ANN401 - an answer, or with grpc.aio a promise of one
        with self._lock:
            if self._closed:
                raise RuntimeError(f"this client of {self._target} is closed: make a new one")
            if self._stub is None:
                self._channel = self._open()
                self._stub = GRPCInferenceServiceStub(self._channel)
            method = getattr(self._stub, call.method)
        return method(call.request, timeout=budget.left())

    def _take_channel(self) -> AnyChannel | None:
        """Mark the client as closed and hand over its channel to be closed, where one is open."""
        with self._lock:
            channel, self._channel, self._stub, self._closed = self._channel, None, None, True
        return channel
