"""Calls the public way: on grpcio's own threads, one for each request that waits."""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator

import grpc
from google.protobuf.message import DecodeError

from rnnserve.protos.access_table import INFERENCE, METHODS, Need
from rnnserve.server.access.gate import Gate, Grant
from rnnserve.server.batching.lateness import cancelled, check_unread
from rnnserve.server.batching.schedulers import Schedulers
from rnnserve.server.boundary.compression import decompress, is_compressed
from rnnserve.server.clock import now
from rnnserve.server.connections.byte_budget import ByteBudget, HeldBytes
from rnnserve.server.counting.table import count_http_answer, count_refusal, refusals_counted
from rnnserve.server.errors import InternalError, InvalidRequest, ServeError
from rnnserve.server.lane.varying_fields import HEAD_BYTES, find_varying_fields
from rnnserve.server.observing.runs import tell_refusal
from rnnserve.server.protocol.responses import (
    encode_response,
    encode_stream_error,
    encode_stream_response,
    errors_end_stream,
)
from rnnserve.server.protocol.service import Method, Service
from rnnserve.server.transport.call_access import counted, grant_of, limited_answer
from rnnserve.server.transport.callers import PublicCaller
from rnnserve.server.transport.error_statuses import ErrorsAsStatuses
from rnnserve.server.transport.inference_calls import InferenceCall, StreamCall, UnaryCall
from rnnserve.server.transport.recognition import Recognition
from rnnserve.server.transport.thread_pool import CallPool
from rnnserve.server.transport.waiting_calls import WaitingCall, WaitingStep

__all__ = ["PublicCalls", "conversing", "streaming", "unary", "watching"]

_MAX_CONTROL_BYTES = 4 << 20
"""Bytes of a request of a method that answers at once, decompressed. Beyond it: INVALID_ARGUMENT."""

# RpcMethodHandler is generic in its type stubs only, hence the quotes in annotations.
Answer = Callable[[bytes, grpc.ServicerContext], bytes]
AnswerReceived = Callable[[list[bytes], grpc.ServicerContext], bytes]
Watch = Callable[[bytes, grpc.ServicerContext], Iterator[bytes]]
Stream = Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]


class PublicCalls:
    """Makes handlers from bytes to bytes.

    A method with one request is served as one with a stream of requests, which is the same on the wire: so a call can
    be refused before its message has arrived, and one whose message never arrives can be ended.
    """

    def __init__(self, service: Service, schedulers: Schedulers, budget: ByteBudget, gate: Gate | None = None) -> None:
        """Answer for a service.

        Args:
            service: The service, which answers.
            schedulers: The models' threads, which run ModelInfer.
            budget: Budget of the bytes that ModelInfer's requests and responses hold.
            gate: Gate that has let the calls in; None where there is none.
        """
        self._gate = gate
        self._service = service
        self._recognition = Recognition(service)
        self._schedulers = schedulers
        self._budget = budget
        self._believes_callers = service.settings.private_sockets is not None

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
            name: unary(_answering(method, self._gate_of(name)), loading if method.takes_long else control, name)
            for name, method in self._service.methods.items()
        }
        handlers["ModelInfer"] = _letting_go(functools.partial(self._infer, inference), inference, "ModelInfer")
        handlers["ModelStreamInfer"] = streaming(
            functools.partial(self._infer_stream, streams), streams, "ModelStreamInfer"
        )
        return handlers

    def _gate_of(self, name: str) -> Gate | None:
        """The gate of a method that answers at once: none of those that anybody may ask."""
        return None if METHODS[f"{INFERENCE}{name}"] is Need.HEALTH else self._gate

    def _infer(self, pool: CallPool, received: list[bytes], context: grpc.ServicerContext) -> bytes:
        call = UnaryCall(held := HeldBytes(self._budget, pool.call))
        caller = PublicCaller(
            context, "ModelInfer", believes=self._believes_callers, beginning=received[0][:HEAD_BYTES]
        )
        with _refusals_told(caller):
            counted(self._grant(caller, context))
            if not context.add_callback(call.close):
                raise cancelled("read")
            held.hold(self._bytes_of(received[0]))
            return self._run(received, context, caller, call, held, pool)

    def _infer_stream(
        self, pool: CallPool, messages: Iterator[bytes], context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        """Answer the requests of a stream, one after another."""
        stream = StreamCall()
        if not context.add_callback(stream.close):
            stream.close()  # the call has ended already
        caller = PublicCaller(context, "ModelStreamInfer", believes=self._believes_callers)
        errors_end = errors_end_stream(context.invocation_metadata())
        self._grant(caller, context)
        for payload in messages:
            held = HeldBytes(self._budget, pool.call)
            received, caller.beginning = [payload], payload[:HEAD_BYTES]
            del payload  # it may have 16 MB, and the next one may come in an hour
            try:
                counted(caller.grant)
                held.hold(self._bytes_of(received[0]))
                answer = [encode_stream_response(self._run(received, context, caller, stream, held, pool))]
                yield answer.pop()  # of which nothing is kept while the next message is awaited
            except ServeError as error:
                count_refusal(error)
                error.request_id = tell_refusal(caller, error)
                if errors_end:
                    raise
                yield _stream_error(error, caller.beginning)
            except Exception as error:  # noqa: BLE001 - a defect must not end the stream
                hidden = count_refusal(InternalError.hiding(error))
                tell_refusal(caller, hidden)
                yield _stream_error(hidden, caller.beginning)
            finally:
                held.end()  # what was yielded has been sent
                received.clear()  # where it was refused before it was read

    def _grant(self, caller: PublicCaller, context: grpc.ServicerContext) -> Grant | None:
        """Look up what the token of a call admits to."""
        caller.grant = grant_of(self._gate, context)
        return caller.grant

    def _bytes_of(self, payload: bytes) -> int:
        """How many bytes a request may take: a compressed one as many as it may have."""
        return self._service.settings.max_message_bytes if is_compressed(payload) else len(payload)

    def _run(
        self,
        received: list[bytes],
        context: grpc.ServicerContext,
        caller: PublicCaller,
        call: InferenceCall,
        held: HeldBytes,
        pool: CallPool,
    ) -> bytes:
        """Answer a request, of which nothing but its tensors is kept when it has been read: of a large one, a copy."""
        remaining, at = context.time_remaining(), now()
        deadline = math.inf if remaining is None else at + remaining
        check_unread(deadline, at)
        served, checked = self._recognition.accept(received.pop(), caller)
        waiting, control = WaitingCall(checked, deadline, held, caller), checked.sequence
        del checked  # a call that is cancelled lets go of it, while this thread waits on
        try:
            if control is None:
                call.note(waiting)
                self._schedulers.submit(served.model, waiting, may_run_now=True)
            else:
                step = WaitingStep(waiting, self._schedulers.submit_or_refuse)
                call.note(step)
                if step.enter(self._service.sequences, served, control, caller, call.owner):
                    step.take_turn()
            if not waiting.is_answered:
                pool.let_others_receive()
            outputs = waiting.wait()
            response = encode_response(served.model, waiting.check(), outputs)
        except ServeError as error:
            raise error.of(served.model.statistics.counts)  # noqa: B904 - the same error
        else:
            if caller.is_of_http():
                count_http_answer(served.model.statistics.counts)
            return response
        finally:
            call.drop()


def _answering(method: Method, gate: Gate | None) -> Answer:
    def answer(payload: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            request = method.read(decompress(payload, _MAX_CONTROL_BYTES))
        except DecodeError:
            raise InvalidRequest(f"the request's {len(payload):,} bytes are not a message of this method") from None
        if gate is not None:
            return limited_answer(method.answer, request, grant_of(gate, context)).SerializeToString()
        return method.answer(request).SerializeToString()

    return answer


@contextlib.contextmanager
def _refusals_told(caller: PublicCaller) -> Iterator[None]:
    """Count an error that leaves the block, and tell of it: its caller is told of it."""
    with refusals_counted(caller.is_of_http):
        try:
            yield
        except ServeError as error:
            error.request_id = tell_refusal(caller, error)
            raise


def unary(answer: Answer, pool: CallPool, method: str = "") -> "grpc.RpcMethodHandler[bytes, bytes]":
    """Make a handler of a method with one request and one response.

    Args:
        answer: A function from the request's bytes to the response's.
        pool: The pool whose threads call it.
        method: Name of the method.
    """
    return _letting_go(lambda received, context: answer(received.pop(), context), pool, method)


def _letting_go(answer: AnswerReceived, pool: CallPool, method: str) -> "grpc.RpcMethodHandler[bytes, bytes]":
    """The same for a method whose requests are large: `answer` takes the request out of a list, which alone has it."""

    def handle(messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        with ErrorsAsStatuses(context, method):
            received = [pool.receive(messages, context)]
            with pool.at_work:
                try:
                    return answer(received, context)
                finally:
                    pool.wait_to_answer()

    handle.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return grpc.stream_unary_rpc_method_handler(handle)


def streaming(stream: Stream, pool: CallPool, method: str) -> "grpc.RpcMethodHandler[bytes, bytes]":
    """Make a handler of a method with many requests and many responses.

    Args:
        stream: A function from the requests' bytes to the responses'.
        pool: The pool whose threads call it: each keeps one for as long as it goes on.
        method: Name of the method.
    """

    def handle(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        with ErrorsAsStatuses(context, method):
            yield from stream(pool.messages_of_stream(messages, context), context)

    handle.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return grpc.stream_stream_rpc_method_handler(handle)


def _stream_error(error: ServeError, payload: bytes) -> bytes:
    start, id_end, _ = find_varying_fields(payload)
    return encode_stream_error(error, payload[start:id_end])


def watching(watch: Watch, pool: CallPool) -> "grpc.RpcMethodHandler[bytes, bytes]":
    """Make a handler of a method with one request and many responses.

    Args:
        watch: A function from the request's bytes to the responses'.
        pool: The pool whose threads call it: each keeps one for as long as it goes on.
    """

    def handle(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        with ErrorsAsStatuses(context, ""):
            message = pool.receive(messages, context)
            pool.let_others_receive()
            yield from watch(message, context)

    handle.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return grpc.stream_stream_rpc_method_handler(handle)


def conversing(answer: Answer, pool: CallPool) -> "grpc.RpcMethodHandler[bytes, bytes]":
    """Make a handler of a method that answers each request of a stream before it takes the next.

    Args:
        answer: A function from a request's bytes to the response's.
        pool: The pool whose threads call it: each keeps one until its client ends it, or others wait while it sends
            nothing.
    """

    def handle(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        with ErrorsAsStatuses(context, ""):
            while (payload := pool.receive_next(messages, context)) is not None:
                yield answer(payload, context)

    handle.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return grpc.stream_stream_rpc_method_handler(handle)
