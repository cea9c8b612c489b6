"""The common base of both clients: settings, connection, deadline."""

import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import grpc

from rnnserve.client.channel import channel_options
from rnnserve.client.endpoint import FilePath, parse_endpoint
from rnnserve.client.errors import InvalidRequest
from rnnserve.client.operations import ClientOperations, Pause, RemoteCall
from rnnserve.client.session_operations import SessionOperations, StateForm
from rnnserve.client.tensors import Array
from rnnserve.protos.inference_pb2_grpc import GRPCInferenceServiceStub

__all__ = ["ClientBase", "Deadline"]

AnyChannel = TypeVar("AnyChannel", grpc.Channel, grpc.aio.Channel)


class Deadline:
    """The deadline of one operation, which may make several calls.

    Args:
        timeout: Seconds; `math.inf` for no limit.
    """

    def __init__(self, timeout: float) -> None:
        if not timeout > 0:
            raise InvalidRequest(f"timeout {timeout}: expected seconds above 0, or math.inf for no limit")
        self._end = time.monotonic() + timeout

    def remaining(self) -> float | None:
        """Return the remaining seconds in gRPC's form: None for no limit, below 0 after the deadline."""
        if math.isinf(self._end):
            return None
        remaining = self._end - time.monotonic()
        # A server nearby can still meet a deadline of this moment, but not a deadline that is long past.
        return remaining if remaining > 0 else -1.0


class ClientBase(ABC, Generic[AnyChannel]):
    """Settings of a client, and its channel, which is opened on first use.

    Args:
        url: `"host:port"` or `"grpc://host:port"`; `"grpcs://host:port"` for TLS; `"ip:port,ip:port"` for several
            servers, of which one is used at a time, and the next one after a loss.
        timeout: Default for the seconds that a whole operation may take; `math.inf` for no limit.
        max_rows: Largest number of rows that `predict` and `classify` put into one request.
        max_request_bytes: Largest size, in bytes and with padding, of such a request and of its answer. A single row
            that is larger is sent alone.
        max_message_bytes: Largest answer accepted, in bytes; gRPC's default is 4 MiB.
        tls_ca: File in PEM with the certificates of the authorities to trust; None for those that the machine trusts.
        tls_certificate: File in PEM with the client's certificate chain, for a server that asks for one.
        tls_key: File in PEM with the private key of `tls_certificate`.

    Raises:
        InvalidRequest: A setting is invalid, or a file for TLS cannot be used.
    """

    def __init__(
        self,
        url: str = "127.0.0.1:8001",
        *,
        timeout: float = 10.0,
        max_rows: int = 256,
        max_request_bytes: int = 1 << 20,
        max_message_bytes: int = 64 << 20,
        tls_ca: FilePath | None = None,
        tls_certificate: FilePath | None = None,
        tls_key: FilePath | None = None,
    ) -> None:
        Deadline(timeout)
        self._endpoint = parse_endpoint(url, tls_ca=tls_ca, tls_certificate=tls_certificate, tls_key=tls_key)
        self._options = channel_options(max_message_bytes)
        self._timeout = timeout
        self._operations = ClientOperations(max_rows=max_rows, max_request_bytes=max_request_bytes)
        self._lock = threading.Lock()
        self._channel: AnyChannel | None = None
        self._stub: Any = None
        self._closed = False

    @property
    def url(self) -> str:
        """The server's `host:port`, or those of several servers."""
        return self._endpoint.address

    @abstractmethod
    def _open(self) -> AnyChannel:
        """Open a channel to `_endpoint` with `_options`."""

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self._timeout if timeout is None else timeout)

    def _start(self, call: RemoteCall, deadline: Deadline) -> Any:  # noqa: ANN401 - an answer, or an awaitable of one with grpc.aio
        with self._lock:
            if self._closed:
                raise RuntimeError(f"this client of {self.url} is closed: create a new one")
            if self._stub is None:
                self._channel = self._open()
                self._stub = GRPCInferenceServiceStub(self._channel)
            method = getattr(self._stub, call.method)
        return method(call.request, timeout=deadline.remaining())

    def _session_operations(
        self,
        model: str,
        outputs: Sequence[str],
        rows: int | None,
        state: StateForm | None,
        continue_from: Mapping[str, Array] | Sequence[Mapping[str, Array] | None] | None,
        version: str,
    ) -> SessionOperations:
        """Make the operations of a session, from the arguments of `session`."""
        return SessionOperations(
            self._operations,
            model,
            outputs=outputs,
            rows=rows,
            state=state,
            continue_from=[continue_from] if isinstance(continue_from, Mapping) else continue_from,
            version=version,
        )

    def _may_pause(self, pause: Pause, deadline: Deadline) -> bool:
        """Return whether the operation's time suffices for a pause, and the client is still open."""
        remaining = deadline.remaining()
        return not self._closed and (remaining is None or remaining > pause.seconds)

    def _take_channel(self) -> AnyChannel | None:
        """Mark the client as closed, and return its channel for closing; None if none is open."""
        with self._lock:
            channel, self._channel, self._stub, self._closed = self._channel, None, None, True
        return channel
