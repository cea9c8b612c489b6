"""A gRPC server on one port, and how requests come through it: on the lane, or on grpcio's own threads.

Both ways call the same service. The lane takes ModelInfer where it can run; everything else, and ModelInfer where the
lane cannot run or is not wanted, goes the public way: one thread a request that waits.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent import futures
from pathlib import Path
from typing import NoReturn

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from rnnserve.server.boundary import Array
from rnnserve.server.dispatch import Dispatcher
from rnnserve.server.errors import InternalError, ServeError, StartError
from rnnserve.server.lane import Lane, missing
from rnnserve.server.ports import probe_port
from rnnserve.server.requests import Request
from rnnserve.server.running import Answer, Work
from rnnserve.server.service import Method, Service

__all__ = ["TRANSPORTS", "Transport"]

_log = logging.getLogger(__name__)

TRANSPORTS = ("auto", "lane", "public")

_SERVICE = "inference.GRPCInferenceService"

_THREADS = 256
"""How many ModelInfer requests can be in one batch on the public way, since each waits on a thread of its own."""


class Transport:
    """A gRPC server on one port."""

    def __init__(
        self,
        service: Service,
        host: str,
        port: int,
        *,
        kind: str,
        share_port: bool,
        tls: tuple[Path, Path] | None,
        max_queue: int,
        max_message_bytes: int,
    ) -> None:
        """Bind the port; `start` begins to answer.

        Args:
            service: What answers.
            host: Name or address to listen on.
            port: 0 for any that is free; `self.port` tells which.
            kind: One of `TRANSPORTS`: "lane", "public", or "auto" for the lane where it can run.
            share_port: Let other processes listen on the port too; otherwise a second server on it is a mistake.
            tls: Files in PEM with the certificate chain and the private key; None for a port without TLS.
            max_queue: How many requests may wait for each model.
            max_message_bytes: The limit that the boundary keeps. gRPC's own lies above it, so that a message somewhat
                too large is answered by the boundary, which says more.

        Raises:
            StartError: If the port or the certificate cannot be had, or the lane was asked for and cannot run.
        """
        self._service = service
        self._health = health.HealthServicer()
        self._server = grpc.server(
            futures.ThreadPoolExecutor(_THREADS, thread_name_prefix="grpc"),
            options=[
                ("grpc.max_receive_message_length", max(4 * max_message_bytes, 64 << 20)),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", int(share_port)),
            ],
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, self._handlers()),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.set_ready(False)
        self._lane = self._new_lane(kind, max_queue)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        credentials = _credentials(tls) if tls else None
        if not share_port:
            probe_port(host, port)  # gRPC would log its own view of a port in use, at length
        try:
            if credentials is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise StartError(
                f"cannot listen on {address}: is the port in use, or the host not this machine's?"
            ) from error

    def start(self) -> None:
        """Begin to answer."""
        self._server.start()
        if self._lane is not None:
            self._lane.start()

    def set_ready(self, ready: bool) -> None:
        """Tell those who ask grpc.health.v1, about the server as a whole or the inference service."""
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", _SERVICE):
            self._health.set(name, status)

    def stop(self, grace: float) -> None:
        """Take no new requests, let those under way end within `grace` seconds, and cut off the others."""
        self._health.enter_graceful_shutdown()
        if self._lane is not None:
            self._lane.stop_accepting()
        self._server.stop(grace).wait()
        if self._lane is not None:
            self._lane.join()

    def _new_lane(self, kind: str, max_queue: int) -> Lane[Request] | None:
        if kind == "public":
            return None
        lacking = missing(self._server)
        if lacking is None:
            return Lane(self._server, f"/{_SERVICE}/ModelInfer", Dispatcher(self._service, max_queue))
        if kind == "lane":
            raise StartError(f"transport lane: cannot run here: {lacking}; serve with --transport public or auto")
        _log.warning("ModelInfer takes the public transport, which is slower: the lane cannot run here: %s", lacking)
        return None

    def _handlers(self) -> "dict[str, grpc.RpcMethodHandler[bytes, bytes]]":
        handlers = {name: _unary(_answering(method)) for name, method in self._service.methods.items()}
        handlers["ModelInfer"] = _unary(self._infer)
        return handlers

    def _infer(self, payload: bytes, context: grpc.ServicerContext) -> bytes:
        remaining = context.time_remaining()
        deadline = None if remaining is None else time.monotonic() + remaining
        call = self._service.accept(payload)
        waiter = _Waiter()
        work = Work(call.inference, waiter.take, deadline)
        if not context.add_callback(work.cancel):
            work.cancel()  # the call has ended already
        call.submit(work)
        return call.respond(waiter.outputs())


def _credentials(tls: tuple[Path, Path]) -> grpc.ServerCredentials:
    try:
        certificate, key = (path.read_bytes() for path in tls)
    except OSError as error:
        raise StartError(f"cannot read {error.filename}: {error.strerror}") from error
    return grpc.ssl_server_credentials([(key, certificate)])


class _Waiter:
    """Hands an answer from the model's thread to the one that waits for it."""

    def __init__(self) -> None:
        self._answered = threading.Event()
        self._answer: Answer

    def take(self, answer: Answer) -> None:
        self._answer = answer
        self._answered.set()

    def outputs(self) -> Mapping[str, Array]:
        self._answered.wait()
        if isinstance(self._answer, ServeError):
            raise self._answer
        return self._answer


def _answering(method: Method) -> Callable[[bytes, grpc.ServicerContext], bytes]:
    def answer(payload: bytes, _: grpc.ServicerContext) -> bytes:
        message: Message = method.answer(method.read(payload))
        return message.SerializeToString()

    return answer


# RpcMethodHandler is generic in its type stubs only, hence the quotes.
def _unary(answer: Callable[[bytes, grpc.ServicerContext], bytes]) -> "grpc.RpcMethodHandler[bytes, bytes]":
    """A handler from bytes to bytes. This is the one place where errors become statuses on this transport."""

    def handle(payload: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            return answer(payload, context)
        except ServeError as error:
            _abort(context, error)
        except Exception as error:  # noqa: BLE001 - a defect must neither reach a caller nor end the thread
            _abort(context, InternalError.hiding(error))

    return grpc.unary_unary_rpc_method_handler(handle)


def _abort(context: grpc.ServicerContext, error: ServeError) -> NoReturn:
    context.abort(error.status, str(error))
    raise error  # `abort` raises; this tells the type checker
