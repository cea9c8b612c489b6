"""The common base of both clients: settings, channels, deadlines, errors."""

import math
import threading
import time
from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import grpc

from rnnserve.client.channel import Balancing, channel_options
from rnnserve.client.endpoint import FilePath, Servers, parse_endpoint
from rnnserve.client.errors import InvalidRequest
from rnnserve.client.operations import ClientOperations
from rnnserve.client.remote_calls import Pause, RemoteCall
from rnnserve.protos.inference_pb2_grpc import GRPCInferenceServiceStub
from rnnserve.protos.protocol_words import SEQUENCE_HEADER

__all__ = ["ClientBase", "Deadline"]

AnyChannel = TypeVar("AnyChannel", grpc.Channel, grpc.aio.Channel)


class Deadline:
    """The deadline of one operation, which may make several calls. `timeout` is in seconds, or `math.inf`."""

    def __init__(self, timeout: float) -> None:
        if not timeout > 0:
            raise InvalidRequest(
                f"timeout must be a number of seconds above 0, or math.inf for no limit; got {timeout}"
            )
        self._end = time.monotonic() + timeout

    def remaining(self) -> float | None:
        """Return the remaining seconds in gRPC's form: None for no limit, below 0 after the deadline."""
        if math.isinf(self._end):
            return None
        remaining = self._end - time.monotonic()
        # -1 instead of a value near 0: a nearby server could still meet a deadline that has only just passed.
        return remaining if remaining > 0 else -1.0


class ClientBase(ABC, Generic[AnyChannel]):
    """Settings of a client and its channels, which are opened on first use.

    Args:
        url: `"host:port"` or `"grpc://host:port"`, or `"grpcs://host:port"` for TLS. A DNS name may have several
            addresses. For several servers, `"host:port,host:port"` or a list of URLs.
        timeout: Default for the seconds that a whole operation may take, or `math.inf` for no limit.
        max_rows: Largest number of rows that `predict` and `classify` put into one request.
        max_request_bytes: Largest size of such a request and of its response, in bytes and with padding. A larger
            single row is sent alone.
        max_message_bytes: Largest response that the client accepts, in bytes. gRPC's default is 4 MiB.
        tls_ca: PEM file with the CA certificates to trust, or None for the CAs that the machine trusts.
        tls_certificate: PEM file with the client's certificate chain, for a server that requires one.
        tls_key: PEM file with the private key of `tls_certificate`.
        balancing: "round_robin" to send requests in turn to every server that reports that it is serving. "pick_first"
            to use one server at a time, in the given order, and the next one after a loss.
        token: Token to send with every request, for a server that requires one (`rnnserve serve --tokens`). None if you
            use `token_file` or no token.
        token_file: File that contains only the token, or None. The client reads it again when it changes.
        insecure: Whether the client may send the token without TLS to other machines, over a network that you trust.

    Raises:
        InvalidRequest: A setting is invalid, a TLS file or the token cannot be used, or the token would be sent in
            plain text.
    """

    def __init__(
        self,
        url: Servers = "127.0.0.1:8001",
        *,
        timeout: float = 10.0,
        max_rows: int = 256,
        max_request_bytes: int = 1 << 20,
        max_message_bytes: int = 64 << 20,
        tls_ca: FilePath | None = None,
        tls_certificate: FilePath | None = None,
        tls_key: FilePath | None = None,
        balancing: Balancing = "round_robin",
        token: str | None = None,
        token_file: FilePath | None = None,
        insecure: bool = False,
    ) -> None:
        Deadline(timeout)
        self._endpoint = parse_endpoint(
            url,
            tls_ca=tls_ca,
            tls_certificate=tls_certificate,
            tls_key=tls_key,
            balancing=balancing,
            token=token,
            token_file=token_file,
            insecure=insecure,
        )
        self._options = channel_options(max_message_bytes)
        self._timeout = timeout
        self._operations = ClientOperations(max_rows=max_rows, max_request_bytes=max_request_bytes)
        self._lock = threading.Lock()
        self._addresses: list[str] = []
        self._opened: dict[bool, tuple[AnyChannel, GRPCInferenceServiceStub]] = {}
        self._is_closed = False

    @property
    def url(self) -> str:
        """The server's `host:port`, or a comma-separated list for several servers."""
        return self._endpoint.address

    @abstractmethod
    def _open(self, stays: bool) -> AnyChannel:
        """Open a channel that stays with the first address that responds, or spreads calls over all."""

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self._timeout if timeout is None else timeout)

    def _send(self, call: RemoteCall, deadline: Deadline) -> Any:  # noqa: ANN401 - a response, or an awaitable of it
        """Send a call with the deadline of its operation, the token, and the sequence's id for proxies."""
        method = getattr(self._stub(stays=call.sequence is not None), call.method)
        headers = [*self._endpoint.headers]
        if call.sequence is not None:
            headers.append((SEQUENCE_HEADER, str(call.sequence)))
        return method(call.request, timeout=deadline.remaining(), metadata=headers or None)

    def _stub(self, *, stays: bool) -> GRPCInferenceServiceStub:
        """Return the stub of one of the two channels, which is opened when it is first needed. Thread-safe."""
        with self._lock:
            if self._is_closed:
                raise RuntimeError(f"this client of {self.url} is closed; create a new one")
            if stays not in self._opened:
                self._addresses = self._addresses or self._endpoint.resolve()
                channel: Any = self._open(stays)  # the stub's type has a form for each kind
                self._opened[stays] = channel, GRPCInferenceServiceStub(channel)
            return self._opened[stays][1]

    def _close(self) -> list[AnyChannel]:
        """Open no more channels. Returns the open channels, which the caller must close."""
        with self._lock:
            self._is_closed = True
            opened, self._opened = self._opened, {}
        return [channel for channel, _ in opened.values()]

    def _check_pause(self, pause: Pause, deadline: Deadline) -> None:
        """Raise the pause's error if the operation has less time left or the client has been closed."""
        remaining = deadline.remaining()
        if self._is_closed or (remaining is not None and remaining <= pause.seconds):
            raise pause.error
