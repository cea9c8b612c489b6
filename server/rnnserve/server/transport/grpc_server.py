"""A gRPC server on one port, and how requests come to it: on the lane, or on grpcio's own threads.

Both ways call the same service. The lane takes ModelInfer where it can run; everything else, and ModelInfer where the
lane cannot run or is not wanted, is served the public way: one thread for each request that waits.
"""

import logging
from typing import Any

import grpc
from grpc_health.v1 import health

from rnnserve.server.batching import MAX_REQUESTS
from rnnserve.server.batching.scheduler import Schedulers
from rnnserve.server.boundary.byte_budget import ByteBudget
from rnnserve.server.errors import StartError
from rnnserve.server.lane.completion_queue import Lane, missing_parts
from rnnserve.server.lane.dispatcher import Dispatcher
from rnnserve.server.protocol.service import Service
from rnnserve.server.settings import Settings
from rnnserve.server.transport.health import HealthService
from rnnserve.server.transport.memory_guard import MemoryGuard
from rnnserve.server.transport.ports import probe_port
from rnnserve.server.transport.public_calls import PublicCalls, unary, watching
from rnnserve.server.transport.thread_pool import CallPool
from rnnserve.server.transport.tls import server_credentials

__all__ = ["GrpcTransport"]

_log = logging.getLogger(__name__)

_SERVICE = "inference.GRPCInferenceService"

_INFERENCE_THREADS = MAX_REQUESTS
"""As many ModelInfer requests can be in one batch on the public way, since each waits on a thread of its own."""

_CONTROL_THREADS, _CONTROL_CALLS = 16, 1024
"""Threads for all other methods, which answer at once, and calls of these that may be in hand."""

_STREAMS = 1024
"""Calls in hand of one connection; a client's further calls wait at the client."""

_UNCOUNTED = 192 << 20
"""Bytes of memory, beside those that are counted, that the largest requests take while they are read and run."""

_PENDING_CALLS = 1 << 24
"""gRPC's core drops calls, with CANCELLED and no message, of which more than this wait for a thread to take them: more
than can be, since this server refuses what is too much itself, and says so. The core's own limit is 1,000."""


class GrpcTransport:
    """A gRPC server on one port.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, service: Service, schedulers: Schedulers, settings: Settings) -> None:
        """Bind the port; `start` begins to answer.

        Args:
            service: What answers.
            schedulers: The models' threads, which run what does not run on the lane.
            settings: Where and how to listen.

        Raises:
            StartError: If the port or the certificate cannot be had, or the lane was asked for and cannot run.
        """
        self._control = CallPool(_CONTROL_THREADS, _CONTROL_CALLS, "control")
        self._inference = CallPool(_INFERENCE_THREADS, settings.max_queue + MAX_REQUESTS, "inference")
        self._server = grpc.server(self._control, options=_options(settings))
        self._budget = ByteBudget(settings.max_held_bytes)
        self._health = HealthService(("", _SERVICE))
        calls = PublicCalls(service, schedulers, self._budget)
        self._add_service(_SERVICE, calls.methods(self._control, self._inference))
        self._add_service(
            health.SERVICE_NAME,
            {"Check": unary(self._health.check, self._control), "Watch": watching(self._health.watch, self._control)},
        )
        self._dispatcher: Dispatcher | None = None
        self._lane = self._new_lane(service, schedulers, settings.transport)
        self.port = self._bind(settings)
        self._memory_guard: MemoryGuard | None = None
        if self._lane is not None:
            self._memory_guard = MemoryGuard(settings.max_held_bytes + _UNCOUNTED, self._lane.end_late)

    def start(self) -> None:
        """Begin to answer."""
        self._server.start()
        if self._lane is not None:
            self._lane.start()

    def set_ready(self, ready: bool) -> None:
        """Set what grpc.health.v1 answers, for the server as a whole and for the inference service."""
        self._health.set_serving(ready)

    def stop(self, grace: float) -> None:
        """Accept no new requests, let those in progress end within `grace` seconds, and cut off the others."""
        self._health.shut_down()
        if self._lane is not None:
            self._lane.stop_accepting()
        self._server.stop(grace).wait()
        if self._lane is not None:
            self._lane.join()
        if self._dispatcher is not None:
            self._dispatcher.close()
        if self._memory_guard is not None:
            self._memory_guard.close()
        for pool in (self._control, self._inference):
            pool.shutdown(wait=False)

    def _add_service(self, name: str, handlers: "dict[str, grpc.RpcMethodHandler[Any, Any]]") -> None:
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))

    def _new_lane(self, service: Service, schedulers: Schedulers, transport: str) -> Lane | None:
        if transport == "public":
            return None
        lacking = missing_parts(self._server)
        if lacking is None:
            self._dispatcher = Dispatcher(service, schedulers)
            return Lane(self._server, f"/{_SERVICE}/ModelInfer", self._dispatcher, self._budget)
        if transport == "lane":
            raise StartError(f"transport lane: cannot run here: {lacking}; serve with --transport public or auto")
        _log.warning("ModelInfer takes the public transport, which is slower: the lane cannot run here: %s", lacking)
        return None

    def _bind(self, settings: Settings) -> int:
        host, port = settings.host, settings.grpc_port
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        credentials = server_credentials(settings)
        if not settings.share_port:
            probe_port(host, port)  # gRPC would log its own description of a port in use, at length
        try:
            if credentials is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise StartError(
                f"cannot listen on {address}: is the port in use, or the host not this machine's?"
            ) from error


def _options(settings: Settings) -> list[tuple[str, int]]:
    """Options of gRPC's core: it refuses what is far too large or too much, and leaves the rest to this server.

    Its limit on messages counts bytes after decompression, and is a quarter above `max_message_bytes`, so that a
    message somewhat too large is refused by the boundary, which says more.
    """
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes * 5 // 4),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", _STREAMS),
        # Pings are answered, however many. Where the core closes a connection for too many, it makes an error of each
        # further one that has arrived, which holds all before it: 50,000 pings, 850 kB, stopped everyone for 3 s.
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.server.max_pending_requests", _PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", _PENDING_CALLS),
        ("grpc.so_reuseport", int(settings.share_port)),
    ]
