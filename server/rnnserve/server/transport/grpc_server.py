"""A gRPC server on one port: inference on the fast path, all other methods on grpcio's own threads."""

import os
import time
from concurrent import futures

import grpc

from rnnserve.common.tls_identity import IdentityError, TlsFiles, TlsIdentity, TlsWatch, read_identity
from rnnserve.protos.access_table import INFERENCE
from rnnserve.protos.protocol_words import FRONT_EXCHANGE
from rnnserve.server.access.gate import open_gate
from rnnserve.server.batching.schedulers import Schedulers
from rnnserve.server.batching.waiting_queue import QueueLimits
from rnnserve.server.clock import now
from rnnserve.server.connections.byte_budget import ByteBudget, MemoryGuard, bytes_for_requests
from rnnserve.server.counting import places
from rnnserve.server.counting.places import TLS_NOT_AFTER, TLS_NOT_RELOADED, TLS_RELOADED
from rnnserve.server.counting.table import count_in_process, used_table
from rnnserve.server.errors import ShuttingDown, StartError
from rnnserve.server.fast_path.dispatcher import Dispatcher
from rnnserve.server.fast_path.fast_path import FastPath, check_fast_path
from rnnserve.server.protocol.service import Service
from rnnserve.server.settings import Settings
from rnnserve.server.system import probe_port
from rnnserve.server.transport.control import INFERENCE_SERVICE, ControlMethods, ControlPath
from rnnserve.server.transport.health import HealthService
from rnnserve.server.transport.native_transport import NativeTransport, SharedDispatcher
from rnnserve.server.transport.plain_transport import PlainTransport

__all__ = ["GrpcServer"]

_HOLD_SECONDS = 60e-3
"""Seconds for which arriving calls are held before gRPC's core stops. Clients that wait for responses send no calls
meanwhile. gRPC's core would end a call that arrives during its stop with CANCELLED. On a machine with six processes per
core, a client may take more than 20 ms from its connection to its first call."""

_END_SECONDS, _CUT_SECONDS = 1.0, 3.0
"""Seconds after the grace period in which answered calls may end, and after which gRPC's core cuts off the rest."""

_GATEWAY_SECONDS = 1.1
"""Seconds to wait for an unresponsive HTTP gateway (`fast_path.gateway_stream`)."""

_PLAIN_THREADS = 512
"""Concurrent requests and streams with `--plain`, because each occupies a thread. Beyond it: further ones wait for a
thread."""

_CALLS_OF_CONNECTION = 1024
"""Calls in flight per connection, including streams. Beyond it: further calls wait at the client."""

_AHEAD = 1 << 20
"""Bytes that a connection may send ahead of the reader. For the lifetime of a connection, gRPC's core keeps a read
buffer of the largest size that was ever filled: after large messages on 60 connections, 220 MB by default, and 100 MB
with this limit. Beyond it: further bytes wait at the client."""

_MAX_HEADER_BYTES = 16 << 10
"""Bytes of a call's metadata as counted by HTTP/2. Beyond it: RESOURCE_EXHAUSTED."""


class GrpcServer:
    """A gRPC server on one port. `health` covers the server as a whole and the inference service."""

    def __init__(self, service: Service, schedulers: Schedulers, settings: Settings) -> None:
        """Create the server, and listen unless the port is shared. `start` begins to serve.

        A server with an exclusive port listens from now on, so it can report that it is live, and its port is known,
        while it loads. A server with a shared port listens only at `start`, because the kernel would send it
        connections before that. Raises StartError if the port or certificate cannot be used, or the fast path fails
        with this grpcio.
        """
        self._settings = settings
        self._gate = gate = open_gate(
            settings, lambda holds: count_in_process(places.TOKENS_READ if holds else places.TOKENS_NOT_READ)
        )
        pool = futures.ThreadPoolExecutor(_PLAIN_THREADS if settings.plain else 1, "grpc")
        self._server = grpc.server(pool, options=_core_options(settings))
        self._budget = ByteBudget(settings.max_held_bytes)
        self.health = HealthService(("", INFERENCE_SERVICE), service.repository)
        self._control = ControlMethods(service, self.health, gate)
        self._control.add_to(self._server, is_plain=settings.plain)
        is_native = settings.transport == "native"
        self.dispatcher = (SharedDispatcher if is_native else Dispatcher)(service, schedulers)  # runs the requests
        self._transport: FastPath | PlainTransport | NativeTransport
        self._native: NativeTransport | None = None
        self._control_path: ControlPath | None = None
        self._memory_guard: MemoryGuard | None = None
        if settings.plain:
            self._transport = PlainTransport(self._server, self.dispatcher, self._budget, gate)
        else:
            check_fast_path()
            self._transport = fast_path = FastPath(
                self._server,
                f"{INFERENCE}ModelInfer",
                self.dispatcher,
                self._budget,
                stream_method=f"{INFERENCE}ModelStreamInfer",
                max_streams=settings.max_streams,
                max_in_flight=QueueLimits(settings.max_queue, settings.max_wait).of_connection,
                gateway_method=FRONT_EXCHANGE if settings.private_sockets is not None else "",
                gate=gate,
            )
            if is_native:
                self._transport = self._native = NativeTransport(fast_path, self.dispatcher, gate)
            self._control_path = ControlPath(fast_path.core, self._budget, self._control.methods)
            self._memory_guard = MemoryGuard(
                settings.max_held_bytes,
                lambda: bool(self._budget.held) or fast_path.is_receiving,
                service.repository.is_loading,
                fast_path.end_late,
                now,
            )
        self._is_started = False
        self._tls = None if settings.tls_files is None else ServedTls(settings.tls_files)
        self.port = settings.grpc_port if settings.share_port else self._bind()  # of gRPC, even before it is bound

    def start(self) -> None:
        """Start serving. Raises StartError if the port is shared and cannot be used."""
        if self._settings.share_port:
            self.port = self._bind()
        self._server.start()
        self._is_started = True
        self._transport.start()
        if self._control_path is not None:
            self._control_path.start()
        if self._memory_guard is not None:
            self._memory_guard.start()
        if self._tls is not None:
            self._tls.watch.start()

    def note_new_models(self) -> None:
        """Adapt the byte limit to the container memory that models leave. Call it after models were loaded."""
        self._budget.limit = bytes_for_requests(self._settings.max_held_bytes, self._settings.sharers)

    def look_at_tokens(self) -> None:
        """Reload the access file if it has changed, and end streams with invalid tokens. Called every second."""
        if self._gate is None or not self._gate.look(now()):
            return
        self._transport.end_revoked()
        for name, grant in self._gate.grants():
            used_table().row("", name)[places.TOKEN_REQUESTS] = grant.requests

    @property
    def failure(self) -> Exception | None:
        """The error that ended the thread that receives requests, or None while it runs."""
        return self._transport.failure

    def stop(self, grace: float) -> list[str]:
        """Accept no new requests, and let those in progress end within `grace` seconds.

        Some seconds later, gRPC's core cuts off the rest with CANCELLED. If the process ends before that, their
        connections close and they get UNAVAILABLE. Returns descriptions of the parts still running after that.
        """
        self.health.drain(is_last=True)
        if self._tls is not None:
            self._tls.watch.close()
        deadline = now() + grace
        if grace and self._is_started:
            self._transport.hold()
            time.sleep(_HOLD_SECONDS)
        self._transport.stop_accepting()
        self._end_streams()
        stopped = self._server.stop(max(0.0, deadline - now()) + _CUT_SECONDS)
        self._transport.release()
        deadline = max(deadline, now()) + _END_SECONDS
        left = []
        if not stopped.wait(min(_GATEWAY_SECONDS, deadline - _END_SECONDS / 2 - now())):
            self._end_streams()
        if not stopped.wait(deadline - _END_SECONDS / 2 - now()):
            left.append("calls")
        if not self._transport.join(max(0.0, deadline - _END_SECONDS / 4 - now())):
            left.append("requests")
        if not self.dispatcher.close(_END_SECONDS):
            left.append("large requests")
        if self._memory_guard is not None:
            self._memory_guard.close()
        self._control.shutdown()
        return left

    def _end_streams(self) -> None:
        self._transport.end_streams(ShuttingDown("the server is shutting down; continue on a new stream"))

    @property
    def held_bytes(self) -> int:
        """Bytes of requests and responses in flight."""
        return self._budget.held

    @property
    def in_flight(self) -> int:
        """Number of unanswered requests."""
        return self._transport.in_flight

    def _bind(self) -> int:
        """Bind the port and listen. gRPC does both at once, and accepts waiting connections after `start`."""
        settings = self._settings
        host, port = settings.host, settings.grpc_port
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if not settings.share_port:
            probe_port(host, port)  # gRPC would log a lengthy error for a port in use
        try:
            if settings.private_sockets is not None:  # without TLS, because no other user can open the socket
                self._server.add_insecure_port(f"unix:{settings.private_sockets / str(os.getpid())}.sock")
            if self._native is not None:
                self._server.add_insecure_port(self._native.fallback)
                return self._native.listen(address, share_port=settings.share_port)
            if self._tls is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, self._tls.credentials)
        except RuntimeError as error:
            raise StartError(
                f"cannot listen on {address}: the port may be in use, or the host is not this machine"
            ) from error


def _core_options(settings: Settings) -> list[tuple[str, int]]:
    """Return options for gRPC's core: it refuses only far too large calls, and this server checks the rest."""
    age = settings.connection_age
    return [
        # A quarter above the limit, so that request validation can refuse slightly too large requests with details.
        ("grpc.max_receive_message_length", settings.max_message_bytes * 5 // 4),
        ("grpc.max_send_message_length", -1),
        ("grpc.per_message_decompression", 0),  # see `validation.parsing`
        ("grpc.max_concurrent_streams", _CALLS_OF_CONNECTION),
        # With this protection, the core still counts just answered streams until Python releases their
        # calls. It then refuses further streams of a client within the limit, with a bare REFUSED_STREAM.
        ("grpc.http.overload_protection", 0),
        # Above its soft limit (8 kB by default), the core refuses calls at random, more often the larger they are.
        ("grpc.max_metadata_size", _MAX_HEADER_BYTES),
        ("grpc.absolute_max_metadata_size", _MAX_HEADER_BYTES),
        # If more than 1,000 calls wait for a thread, the core drops calls with CANCELLED and no message. This server
        # refuses excess calls itself with a reason, so the limit is set above any possible number.
        ("grpc.server.max_pending_requests", 1 << 24),
        ("grpc.server.max_pending_requests_hard_limit", 1 << 24),
        ("grpc.so_reuseport", int(settings.share_port)),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", _AHEAD),
        *([("grpc.max_connection_age_ms", max(1, round(1e3 * age)))] if age else []),
    ]


class ServedTls:
    """TLS of a port.

    gRPC requests changes at each new connection, before its handshake, and blocks meanwhile. It therefore gets files
    that `TlsWatch` has already read and checked. Open connections keep their certificates.
    """

    def __init__(self, files: TlsFiles) -> None:
        """Read the files. Raise StartError with the reason, because gRPC would only report that it can't bind."""
        try:
            served = read_identity(files)
            served.context(files)
        except IdentityError as error:
            raise StartError(str(error)) from error
        self._newest = self._handed = _configuration(served)
        used_table().process[TLS_NOT_AFTER] = served.end
        self.credentials = grpc.dynamic_ssl_server_credentials(
            self._handed,
            self._take_new,  # type: ignore[arg-type]  # grpc also accepts None for no change, unlike its stubs
            require_client_authentication=files.client_ca is not None,
        )
        self.watch = TlsWatch(files, served, self._use, lambda: count_in_process(TLS_NOT_RELOADED))

    def _use(self, identity: TlsIdentity) -> None:
        self._newest = _configuration(identity)
        used_table().process[TLS_NOT_AFTER] = identity.end
        count_in_process(TLS_RELOADED)

    def _take_new(self) -> grpc.ServerCertificateConfiguration | None:
        """Return new files since the last connection, or None. Must not raise."""
        newest = self._newest
        if newest is self._handed:
            return None
        self._handed = newest
        return newest


def _configuration(identity: TlsIdentity) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(identity.key, identity.certificate)], identity.client_ca)
