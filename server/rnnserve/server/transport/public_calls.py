"""Calls the public way: on grpcio's own threads, one for each request that waits."""

import functools
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn

import grpc
from google.protobuf.message import DecodeError

from rnnserve.server.batching.clock import now
from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.batching.scheduler import Schedulers
from rnnserve.server.boundary.byte_budget import RESPONSE_COPIES, ByteBudget, HeldBytes
from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.boundary.compression import decompress, is_compressed
from rnnserve.server.errors import (
    DeadlinePassed,
    InternalError,
    InvalidRequest,
    ServeError,
    TimeoutExpired,
)
from rnnserve.server.lane.varying_fields import find_varying_fields
from rnnserve.server.protocol.error_details import details_metadata
from rnnserve.server.protocol.responses import (
    ERRORS_AS_STATUSES,
    encode_response,
    encode_stream_error,
    encode_stream_response,
)
from rnnserve.server.protocol.sequences import Step, StreamOwner
from rnnserve.server.protocol.service import Method, Service
from rnnserve.server.repository.model import Model
from rnnserve.server.transport.thread_pool import CallPool

__all__ = ["PublicCalls", "conversing", "streaming", "unary", "watching"]

_MAX_CONTROL_BYTES = 4 << 20
"""Bytes of a request of a method that answers at once, decompressed."""

# RpcMethodHandler is generic in its type stubs only, hence the quotes in annotations.
Answer = Callable[[bytes, grpc.ServicerContext], bytes]
Watch = Callable[[bytes, grpc.ServicerContext], Iterator[bytes]]
Stream = Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]


_NO_ANSWER: Mapping[str, Array] = {}


class _WaitingCall(PendingRequest):
    """A request whose caller's thread waits for it."""

    __slots__ = ("_answer", "_checked", "_held", "_is_answered", "_is_limited")

    def __init__(self, checked: CheckedRequest, deadline: float, held: HeldBytes) -> None:
        arrived = now()
        super().__init__(checked.batch, checked.steps, min(deadline, arrived + checked.timeout), arrived)
        self._is_limited = self.deadline < deadline
        self._checked = checked
        self._held = held
        self._answer: Mapping[str, Array] | ServeError = _NO_ANSWER
        self._is_answered = threading.Lock()
        self._is_answered.acquire()  # released with the answer

    @property
    def connection(self) -> str:
        """Names its connection."""
        return self._held.connection

    def check(self) -> CheckedRequest:
        """Give the checked request."""
        return self._checked

    def reason_it_is_late(self) -> ServeError:
        """Say whether it was the deadline or the request's time-out, which is the earlier one."""
        return TimeoutExpired(self._checked.timeout) if self._is_limited else super().reason_it_is_late()

    def answer(self, outputs: Mapping[str, Array]) -> None:
        """Hand the outputs to the thread that waits, unless they are more than may be held.

        They are counted here: the threads that encode them come later, when further runs may have made as many again.
        """
        try:
            self._held.hold(RESPONSE_COPIES * sum([array.nbytes for array in outputs.values()]))
            asked = self._finish(outputs)
        except ServeError as error:
            self.refuse(error)
        else:
            self._tell(asked)

    def _finish(self, outputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Give the outputs that were asked for."""
        return outputs

    def refuse(self, error: ServeError) -> None:
        """Raise the error on the thread that waits."""
        self._tell(error)

    def wait(self) -> Mapping[str, Array]:
        """Wait for the outputs. They are given once: the call knows this request until the response has been sent.

        Raises:
            ServeError: If the request was refused.
        """
        self._is_answered.acquire()
        answer, self._answer = self._answer, _NO_ANSWER
        if isinstance(answer, ServeError):
            try:
                raise answer
            finally:
                del answer  # its traceback has this frame: the frame must not have it, nor what the traceback holds
        return answer

    def _tell(self, answer: Mapping[str, Array] | ServeError) -> None:
        self._answer = answer
        self._is_answered.release()


class _WaitingStep(_WaitingCall):
    """A request of a sequence whose caller's thread waits for it."""

    may_be_displaced = False  # those that wait for their turn behind it would be run without it

    __slots__ = ("_step",)

    def __init__(self, checked: CheckedRequest, deadline: float, held: HeldBytes, step: Step) -> None:
        super().__init__(checked, deadline, held)
        self._step = step

    def check(self) -> CheckedRequest:
        """Give the checked request with its sequence's states.

        Raises:
            ServeError: If it does not continue its sequence.
        """
        return self._step.with_states(super().check())

    def _finish(self, outputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Keep the states, and give the outputs that were asked for."""
        return self._step.finish(outputs)

    def refuse(self, error: ServeError) -> None:
        """Leave the sequence as it was, and raise the error on the thread that waits."""
        super().refuse(error)
        self._step.fail()


class _InferenceCall(StreamOwner):
    """A call of ModelInfer or ModelStreamInfer, with the request of it that is in hand."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        super().__init__()
        self._waiting: PendingRequest | None = None

    @property
    def owner(self) -> StreamOwner | None:
        """The stream that its sequences belong to; None where they belong to none."""
        return None

    def note(self, waiting: PendingRequest) -> None:
        """Note that a request waits."""
        self._waiting = waiting
        if not self.is_open:
            waiting.cancel()

    def close(self) -> None:
        """Note that the call has ended."""
        self.is_open = False
        if self._waiting is not None:
            self._waiting.cancel()


class _UnaryCall(_InferenceCall):
    """A call with one request, and what it holds until it has ended."""

    __slots__ = ("_held",)

    def __init__(self, held: HeldBytes) -> None:
        super().__init__()
        self._held = held

    def close(self) -> None:
        """Note that the call has ended."""
        super().close()
        self._held.end()


class _StreamCall(_InferenceCall):
    """A stream."""

    __slots__ = ()

    @property
    def owner(self) -> StreamOwner:
        """Itself."""
        return self


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
        self, control: CallPool, loading: CallPool, inference: CallPool, streams: CallPool
    ) -> "dict[str, grpc.RpcMethodHandler[bytes, bytes]]":
        """A handler for each method of the service, by the method's name.

        Args:
            control: The threads of what answers at once, so that it does not wait for what is run.
            loading: The threads of what may take seconds.
            inference: The threads of ModelInfer.
            streams: The threads of ModelStreamInfer: each stream keeps one.
        """
        handlers = {
            name: unary(_answering(method), loading if method.takes_long else control)
            for name, method in self._service.methods.items()
        }
        handlers["ModelInfer"] = unary(functools.partial(self._infer, inference), inference)
        handlers["ModelStreamInfer"] = streaming(functools.partial(self._infer_stream, streams), streams)
        return handlers

    def _infer(self, pool: CallPool, payload: bytes, context: grpc.ServicerContext) -> bytes:
        held = HeldBytes(self._budget, pool.call)
        call = _UnaryCall(held)
        if not context.add_callback(call.close):
            call.close()  # it has ended already
        held.hold(self._bytes_of(payload))
        return self._run(payload, context, call, held)

    def _infer_stream(
        self, pool: CallPool, messages: Iterator[bytes], context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        """Answer the requests of a stream, one after another."""
        stream = _StreamCall()
        if not context.add_callback(stream.close):
            stream.close()  # the call has ended already
        errors_end = (ERRORS_AS_STATUSES, "true") in context.invocation_metadata()
        for payload in messages:
            held = HeldBytes(self._budget, pool.call)
            try:
                held.hold(self._bytes_of(payload))
                yield encode_stream_response(self._run(payload, context, stream, held))
            except ServeError as error:
                if errors_end:
                    raise
                yield _stream_error(error, payload)
            except Exception as error:  # noqa: BLE001 - a defect must not end the stream
                yield _stream_error(InternalError.hiding(error), payload)
            finally:
                held.end()  # what was yielded has been sent

    def _bytes_of(self, payload: bytes) -> int:
        """How many bytes a request may take: a compressed one as many as it may have."""
        return self._service.settings.max_message_bytes if is_compressed(payload) else len(payload)

    def _run(self, payload: bytes, context: grpc.ServicerContext, call: _InferenceCall, held: HeldBytes) -> bytes:
        remaining = context.time_remaining()
        deadline = math.inf if remaining is None else now() + remaining
        if deadline < now():
            raise DeadlinePassed("the deadline passed before the request was read")
        served, checked = self._service.accept(payload)
        if checked.sequence is None:
            waiting = _WaitingCall(checked, deadline, held)
            call.note(waiting)
            self._schedulers.submit(served.model, waiting, may_run_now=True)
        else:
            step = self._service.sequences.enter(served, checked.sequence, context.peer, call.owner)
            waiting = _WaitingStep(checked, deadline, held, step)
            call.note(waiting)
            if step.line_up(functools.partial(self._submit_or_refuse, served.model, waiting)):
                self._submit_or_refuse(served.model, waiting, None)
        return encode_response(served.model, checked, waiting.wait())

    def _submit_or_refuse(self, model: Model, waiting: PendingRequest, error: ServeError | None) -> None:
        try:
            if error is not None:
                raise error
            self._schedulers.submit(model, waiting)
        except ServeError as refused:
            waiting.refuse(refused)


def _answering(method: Method) -> Answer:
    def answer(payload: bytes, _: grpc.ServicerContext) -> bytes:
        try:
            request = method.read(decompress(payload, _MAX_CONTROL_BYTES))
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
        with _ErrorsAsStatuses(context):
            payload = pool.receive(messages, context)
            with pool.at_work:
                try:
                    return answer(payload, context)
                finally:
                    pool.wait_to_answer()

    handle.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return grpc.stream_unary_rpc_method_handler(handle)


def streaming(stream: Stream, pool: CallPool) -> "grpc.RpcMethodHandler[bytes, bytes]":
    """Make a handler of a method with many requests and many responses.

    Args:
        stream: From the requests' bytes to the responses'.
        pool: Whose threads call it: each keeps one for as long as it goes on.
    """

    def handle(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        with _ErrorsAsStatuses(context):
            yield from stream(pool.messages_of_stream(messages, context), context)

    handle.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return grpc.stream_stream_rpc_method_handler(handle)


def _stream_error(error: ServeError, payload: bytes) -> bytes:
    start, id_end, _ = find_varying_fields(payload)
    return encode_stream_error(error, payload[start:id_end])


def watching(watch: Watch, pool: CallPool) -> "grpc.RpcMethodHandler[bytes, bytes]":
    """Make a handler of a method with one request and many responses.

    Args:
        watch: From the request's bytes to the responses'.
        pool: Whose threads call it: each keeps one for as long as it goes on.
    """

    def handle(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        with _ErrorsAsStatuses(context):
            yield from watch(pool.receive(messages, context), context)

    handle.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return grpc.stream_stream_rpc_method_handler(handle)


def conversing(answer: Answer, pool: CallPool) -> "grpc.RpcMethodHandler[bytes, bytes]":
    """Make a handler of a method that answers each request of a stream before it takes the next.

    Args:
        answer: From a request's bytes to the response's.
        pool: Whose threads call it: each keeps one until its client ends it, or others wait while it sends nothing.
    """

    def handle(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        with _ErrorsAsStatuses(context):
            while (payload := pool.receive_next(messages, context)) is not None:
                yield answer(payload, context)

    handle.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return grpc.stream_stream_rpc_method_handler(handle)


class _ErrorsAsStatuses:
    """Ends the call with an error's status. This is the one place where errors become statuses on this transport."""

    __slots__ = ("_context",)

    def __init__(self, context: grpc.ServicerContext) -> None:
        self._context = context

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, ServeError):
            _abort(self._context, error)
        if isinstance(error, Exception):  # a defect must neither reach a caller nor end the thread
            _abort(self._context, InternalError.hiding(error))


def _abort(context: grpc.ServicerContext, error: ServeError) -> NoReturn:
    # A frame that has the error as a variable, and is in its traceback, would keep the call until Python looks for
    # garbage. gRPC's core refuses streams where it has many such calls, with a bare REFUSED_STREAM.
    error.__traceback__ = None
    details = details_metadata(error)
    if details:
        context.set_trailing_metadata(details)
    context.abort(grpc.StatusCode[error.status], str(error))
    raise error  # `abort` raises; this tells the type checker
