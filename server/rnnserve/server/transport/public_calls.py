"""Calls the public way: on grpcio's own threads, one for each request that waits."""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from typing import NoReturn

import grpc
from google.protobuf.message import DecodeError

from rnnserve.server.batching.clock import now
from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.batching.scheduler import Schedulers
from rnnserve.server.boundary.byte_budget import RESPONSE_COPIES, SMALL, ByteBudget
from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.errors import DeadlinePassed, InternalError, InvalidRequest, ServeError
from rnnserve.server.protocol.responses import encode_response
from rnnserve.server.protocol.service import Method, Service
from rnnserve.server.transport.thread_pool import CallPool

__all__ = ["PublicCalls", "unary", "watching"]

# RpcMethodHandler is generic in its type stubs only, hence the quotes in annotations.
Answer = Callable[[bytes, grpc.ServicerContext], bytes]
Watch = Callable[[bytes, grpc.ServicerContext], Iterator[bytes]]


class _WaitingCall(PendingRequest):
    """A request whose caller's thread waits for it."""

    __slots__ = ("_checked", "_connection", "_outputs")

    def __init__(self, checked: CheckedRequest, deadline: float, connection: str) -> None:
        super().__init__(checked.batch, checked.steps, deadline, arrived=now())
        self._checked = checked
        self._connection = connection
        self._outputs: futures.Future[Mapping[str, Array]] = futures.Future()

    @property
    def connection(self) -> str:
        """Names its connection."""
        return self._connection

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


class PublicCalls:
    """Makes handlers from bytes to bytes.

    A method with one request is served as one with a stream of requests, which is the same on the wire: so a call can
    be refused before its message has arrived, and one whose message never arrives can be ended.
    """

    def __init__(self, service: Service, schedulers: Schedulers, budget: ByteBudget) -> None:
        """Answer for a service.

        Args:
            service: What answers.
            schedulers: The models' threads, which run ModelInfer.
            budget: Of the bytes that ModelInfer's requests and responses hold.
        """
        self._service = service
        self._schedulers = schedulers
        self._budget = budget

    def methods(
        self, control: CallPool, loading: CallPool, inference: CallPool
    ) -> "dict[str, grpc.RpcMethodHandler[bytes, bytes]]":
        """A handler for each method of the service, by the method's name.

        Args:
            control: The threads of what answers at once, so that it does not wait for what is run.
            loading: The threads of what may take seconds.
            inference: The threads of ModelInfer.
        """
        handlers = {
            name: unary(_answering(method), loading if method.takes_long else control)
            for name, method in self._service.methods.items()
        }
        handlers["ModelInfer"] = unary(self._infer, inference)
        return handlers

    def _infer(self, payload: bytes, context: grpc.ServicerContext) -> bytes:
        with self._budget.holding(context.peer(), len(payload)):
            response = self._run(payload, context)
        if len(response) > SMALL:
            self._hold_until_sent(context, RESPONSE_COPIES * len(response))
        return response

    def _run(self, payload: bytes, context: grpc.ServicerContext) -> bytes:
        remaining = context.time_remaining()
        deadline = math.inf if remaining is None else now() + remaining
        if deadline < now():
            raise DeadlinePassed("the deadline passed before the request was read")
        served, checked = self._service.accept(payload)
        waiting = _WaitingCall(checked, deadline, context.peer())
        if not context.add_callback(waiting.cancel):
            waiting.cancel()  # the call has ended already
        self._schedulers.submit(served.model, waiting)
        return encode_response(served.model, checked, waiting.wait())

    def _hold_until_sent(self, context: grpc.ServicerContext, size: int) -> None:
        connection = context.peer()
        self._budget.take(connection, size)
        give_back = functools.partial(self._budget.give_back, connection, size)
        if not context.add_callback(give_back):
            give_back()  # the call has ended already


def _answering(method: Method) -> Answer:
    def answer(payload: bytes, _: grpc.ServicerContext) -> bytes:
        try:
            request = method.read(payload)
        except DecodeError:
            raise InvalidRequest(f"the request's {len(payload):,} bytes are not a message of this method") from None
        return method.answer(request).SerializeToString()

    return answer


def unary(answer: Answer, pool: CallPool) -> "grpc.RpcMethodHandler[bytes, bytes]":
    """Make a handler of a method with one request and one response.

    Args:
        answer: From the request's bytes to the response's.
        pool: Whose threads call it.
    """

    def handle(messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        with _errors_as_statuses(context):
            try:
                return answer(pool.receive(messages, context), context)
            finally:
                pool.wait_to_answer()

    handle.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return grpc.stream_unary_rpc_method_handler(handle)


def watching(watch: Watch, pool: CallPool) -> "grpc.RpcMethodHandler[bytes, bytes]":
    """Make a handler of a method with one request and many responses.

    Args:
        watch: From the request's bytes to the responses'.
        pool: Whose threads call it: each keeps one for as long as it goes on.
    """

    def handle(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        with _errors_as_statuses(context):
            yield from watch(pool.receive(messages, context), context)

    handle.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return grpc.stream_stream_rpc_method_handler(handle)


@contextlib.contextmanager
def _errors_as_statuses(context: grpc.ServicerContext) -> Iterator[None]:
    """End the call with an error's status. This is the one place where errors become statuses on this transport."""
    try:
        yield
    except ServeError as error:
        _abort(context, error)
    except Exception as error:  # noqa: BLE001 - a defect must neither reach a caller nor end the thread
        _abort(context, InternalError.hiding(error))


def _abort(context: grpc.ServicerContext, error: ServeError) -> NoReturn:
    context.abort(grpc.StatusCode[error.status], str(error))
    raise error  # `abort` raises; this tells the type checker
