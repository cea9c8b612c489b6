"""The common base of both clients: settings, channels, deadlines, errors."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import grpc

from rnnserve.client.channel import Balancing, channel_options
from rnnserve.client.endpoint import FilePath, Servers, parse_endpoint
from rnnserve.client.errors import InvalidRequest
from rnnserve.client.operations import ClientOperations
from rnnserve.client.remote_calls import Pause, RemoteCall
from rnnserve.client.server_channels import ServerChannels
from rnnserve.client.session_operations import SessionOperations, StateForm
from rnnserve.client.tensors import Array

__all__ = ["ClientBase", "Deadline"]

AnyChannel = TypeVar("AnyChannel", grpc.Channel, grpc.aio.Channel)


class Deadline:
    """The deadline of one operation, which may make several calls. `timeout` is in seconds, or `math.inf`."""

    def __init__(self, timeout: float) -> None:
        if not timeout > 0:
            raise InvalidRequest(f"timeout {timeout}: expected seconds above 0, or math.inf for no limit")
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
        self._channels: ServerChannels[AnyChannel] = ServerChannels(self._endpoint.resolve, self._open)

    @property
    def url(self) -> str:
        """The server's `host:port`, or a comma-separated list for several servers."""
        return self._endpoint.address

    @abstractmethod
    def _open(self, addresses: list[str], stays: bool) -> AnyChannel:
        """Open a channel that stays with the first address that responds, or spreads calls over all."""

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self._timeout if timeout is None else timeout)

    def _send(self, call: RemoteCall, deadline: Deadline) -> Any:  # noqa: ANN401 - a response, or an awaitable of it
        """Send a call with the deadline of its operation and with the token."""
        if self._channels.is_closed:
            raise RuntimeError(f"this client of {self.url} is closed: create a new one")
        method = getattr(self._channels.stub(call.place), call.method)
        headers = [*self._endpoint.headers, *(call.headers or ())] or None
        return method(call.request, timeout=deadline.remaining(), metadata=headers)

    def _session_operations(
        self,
        model: str,
        outputs: Sequence[str],
        rows: int | None,
        state: StateForm | None,
        continue_from: Mapping[str, Array] | Sequence[Mapping[str, Array] | None] | None,
        version: str,
    ) -> SessionOperations:
        """Create the operations of a session from the arguments of `session`."""
        return SessionOperations(
            self._operations,
            model,
            outputs=outputs,
            rows=rows,
            state=state,
            continue_from=[continue_from] if isinstance(continue_from, Mapping) else continue_from,
            version=version,
        )

    def _check_pause(self, pause: Pause, deadline: Deadline) -> None:
        """Raise the pause's error if the operation has less time left or the client has been closed."""
        remaining = deadline.remaining()
        if self._channels.is_closed or (remaining is not None and remaining <= pause.seconds):
            raise pause.error
