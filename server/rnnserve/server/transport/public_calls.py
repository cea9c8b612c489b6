"""Calls the public way: on grpcio's own threads, one for each request that waits."""

import math
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import NoReturn

import grpc

from rnnserve.server.batching.clock import now
from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.batching.scheduler import Schedulers
from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.errors import InternalError, ServeError
from rnnserve.server.protocol.responses import encode_response
from rnnserve.server.protocol.service import Method, Service

__all__ = ["method_handlers"]

_Answer = Callable[[bytes, grpc.ServicerContext], bytes]


# RpcMethodHandler is generic in its type stubs only, hence the quotes.
def method_handlers(service: Service, schedulers: Schedulers) -> "dict[str, grpc.RpcMethodHandler[bytes, bytes]]":
    """A handler from bytes to bytes for each method of the service, by the method's name."""
    handlers = {name: _unary(_answering(method)) for name, method in service.methods.items()}
    handlers["ModelInfer"] = _unary(_inferring(service, schedulers))
    return handlers


class _WaitingCall(PendingRequest):
    """A request whose caller's thread waits for it."""

    __slots__ = ("_checked", "_outputs")

    def __init__(self, checked: CheckedRequest, deadline: float) -> None:
        super().__init__(checked.batch, checked.steps, deadline, arrived=now())
        self._checked = checked
        self._outputs: futures.Future[Mapping[str, Array]] = futures.Future()

    def check(self) -> CheckedRequest:
        """Give the checked request."""
        return self._checked

    def answer(self, outputs: Mapping[str, Array]) -> None:
        """Hand the outputs to the thread that waits."""
        self._outputs.set_result(outputs)

    def refuse(self, error: ServeError) -> None:
        """Raise the error on the thread that waits."""
        self._outputs.set_exception(error)

    def wait(self) -> Mapping[str, Array]:
        """Wait for the outputs.

        Raises:
            ServeError: If the request was refused.
        """
        return self._outputs.result()


def _inferring(service: Service, schedulers: Schedulers) -> _Answer:
    def answer(payload: bytes, context: grpc.ServicerContext) -> bytes:
        remaining = context.time_remaining()
        deadline = math.inf if remaining is None else now() + remaining
        served, checked = service.accept(payload)
        waiting = _WaitingCall(checked, deadline)
        if not context.add_callback(waiting.cancel):
            waiting.cancel()  # the call has ended already
        schedulers.submit(served.model, waiting)
        return encode_response(served.model, checked, waiting.wait())

    return answer


def _answering(method: Method) -> _Answer:
    def answer(payload: bytes, _: grpc.ServicerContext) -> bytes:
        return method.answer(method.read(payload)).SerializeToString()

    return answer


def _unary(answer: _Answer) -> "grpc.RpcMethodHandler[bytes, bytes]":
    """Make a handler from bytes to bytes. This is the one place where errors become statuses on this transport."""

    def handle(payload: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            return answer(payload, context)
        except ServeError as error:
            _abort(context, error)
        except Exception as error:  # noqa: BLE001 - a defect must neither reach a caller nor end the thread
            _abort(context, InternalError.hiding(error))

    return grpc.unary_unary_rpc_method_handler(handle)


def _abort(context: grpc.ServicerContext, error: ServeError) -> NoReturn:
    context.abort(grpc.StatusCode[error.status], str(error))
    raise error  # `abort` raises; this tells the type checker
