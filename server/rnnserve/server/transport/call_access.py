"""The gate before the methods of the public transport: a call that it refuses comes to no handler, nor its message.

What a call's metadata say is known before a handler is chosen; what its client has shown to the connection, and where
that comes from, only to a handler. So certificates are looked at on the thread of the method, before its message is
received.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent import futures
from typing import Any

import grpc
from google.protobuf.message import Message

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.access_table import METHODS, SERVER_METADATA, Need, rows_missing
from rnnserve.server.access.credentials import no_certificate
from rnnserve.server.access.gate import Gate, Grant
from rnnserve.server.connections.private_socket import shown_certificate
from rnnserve.server.errors import ServeError, StartError, Unauthenticated
from rnnserve.server.transport.error_statuses import ErrorsAsStatuses
from rnnserve.server.transport.late_messages import end_call

__all__ = ["CallAccess", "check_rows", "counted", "grant_of", "limited_answer"]

_NAME_OF_MODEL: Mapping[type[Message], str] = {
    pb.ModelReadyRequest: "name",
    pb.ModelMetadataRequest: "name",
    pb.ModelConfigRequest: "name",
    pb.ModelStatisticsRequest: "name",
    pb.RepositoryModelLoadRequest: "model_name",
    pb.RepositoryModelUnloadRequest: "model_name",
}
"""The field of a request that names a model; some may be empty, for all of them."""

_OF_MODELS = ("models", "model_stats")
"""Fields of answers that tell of several models: of RepositoryIndex, and of ModelStatistics."""

# RpcMethodHandler is generic in its type stubs only, hence the quotes in annotations.
Handlers = dict[str, "grpc.RpcMethodHandler[Any, Any]"]


def check_rows(methods: Iterable[str]) -> None:
    """Check that each method has a row in the table, by its full name.

    Raises:
        StartError: If one has none.
    """
    missing = rows_missing(methods)
    if missing:
        raise StartError(f"nothing says who may call {', '.join(missing)}: rnnserve/protos/access_table.py")


class CallAccess:
    """Lets calls in by their methods and tokens, and ends those that last, where their tokens do not."""

    def __init__(self, gate: Gate, refusing: futures.ThreadPoolExecutor) -> None:
        """Begin without calls.

        Args:
            gate: Gate that decides.
            refusing: Thread that refuses.
        """
        self._gate = gate
        self._refusing = refusing
        self._lasting: dict[grpc.ServicerContext, tuple[Grant, Need]] = {}

    def guarded(self, service: str, handlers: Handlers) -> grpc.GenericRpcHandler:
        """Make the handlers of a service such that the gate is before them.

        Args:
            service: Full name of the service.
            handlers: Handlers by the names of its methods.
        """
        followed = {name: self._followed(f"/{service}/{name}", handler) for name, handler in handlers.items()}
        if self._gate.credentials.is_of_connection:
            checked = {name: self._checked(f"/{service}/{name}", handler) for name, handler in followed.items()}
            return grpc.method_handlers_generic_handler(service, checked)
        return _GuardedHandlers(self, grpc.method_handlers_generic_handler(service, followed))

    def refusal(
        self,
        method: str,
        metadata: Any,  # noqa: ANN401 - grpcio's own
        certificate: Callable[[], str] = no_certificate,
    ) -> ServeError | None:
        """Say why a call is not let in; None where it is."""
        try:
            self._gate.admit(method, metadata, certificate)
            if method == SERVER_METADATA:
                self._gate.admit_route(metadata, certificate)
        except ServeError as error:
            return error
        return None

    def refusing(self, method: str, error: ServeError) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """Make the handler of a call that is refused."""

        def refuse(_: Any, context: grpc.ServicerContext) -> bytes:  # noqa: ANN401 - messages that it does not take
            with ErrorsAsStatuses(context, method.rpartition("/")[2]):
                raise error

        refuse.experimental_thread_pool = self._refusing  # type: ignore[attr-defined]
        return grpc.stream_unary_rpc_method_handler(refuse)

    def end_revoked(self) -> None:
        """End the calls that last, whose tokens do not admit to them any more. For any thread."""
        for context, (grant, need) in list(self._lasting.items()):
            if not grant.admits(need):
                end_call(context, str(grant.refusal()), grpc.StatusCode.UNAUTHENTICATED)

    def _checked(self, method: str, handler: "grpc.RpcMethodHandler[Any, Any]") -> "grpc.RpcMethodHandler[Any, Any]":
        """The same handler, after the gate: every method here takes its messages one by one, and none before that."""
        answer: Any = handler.stream_stream or handler.stream_unary
        make = grpc.stream_stream_rpc_method_handler if handler.stream_stream else grpc.stream_unary_rpc_method_handler

        def check(messages: Iterator[bytes], context: grpc.ServicerContext) -> Any:  # noqa: ANN401 - as `answer`
            certificate = functools.partial(_certificate_of, context)
            error = self.refusal(method, context.invocation_metadata(), certificate)
            if error is not None:
                with ErrorsAsStatuses(context, method.rpartition("/")[2]):
                    raise error
            return answer(messages, context)

        check.experimental_thread_pool = answer.experimental_thread_pool  # type: ignore[attr-defined]
        return make(check)

    def _followed(self, method: str, handler: "grpc.RpcMethodHandler[Any, Any]") -> "grpc.RpcMethodHandler[Any, Any]":
        """The same handler, of which calls that last are known while they do."""
        answer: Callable[..., Iterator[bytes]] | None = handler.stream_stream
        if answer is None:
            return handler
        need, lasting = METHODS[method], self._lasting
        must_have_token = need is not Need.HEALTH or self._gate.closed_health

        def handle(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            grant = self._grant_of(context)
            if grant is not None:
                lasting[context] = grant, need
            elif must_have_token:  # it is no more, since the call was let in
                end_call(context, str(self._gate.credentials.refusal()), grpc.StatusCode.UNAUTHENTICATED)
                return
            try:
                yield from answer(messages, context)
            finally:
                lasting.pop(context, None)

        handle.experimental_thread_pool = answer.experimental_thread_pool  # type: ignore[attr-defined]
        return grpc.stream_stream_rpc_method_handler(handle)

    def _grant_of(self, context: grpc.ServicerContext) -> Grant | None:
        try:
            return grant_of(self._gate, context)
        except Unauthenticated:
            return None


class _GuardedHandlers(grpc.GenericRpcHandler):
    """Handlers behind the gate."""

    def __init__(self, access: CallAccess, handlers: grpc.GenericRpcHandler) -> None:
        self._access = access
        self._handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Give the handler of a call, or one that refuses it; None where no method is matched."""
        handler = self._handlers.service(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        error = self._access.refusal(method, handler_call_details.invocation_metadata)
        return handler if error is None else self._access.refusing(method, error)


def grant_of(gate: Gate | None, context: grpc.ServicerContext) -> Grant | None:
    """Give what the caller may do of a call that was let in; None without a gate.

    Raises:
        Unauthenticated: If it is no more.
    """
    if gate is None:
        return None
    return gate.grant_of(context.invocation_metadata(), functools.partial(_certificate_of, context))


def _certificate_of(context: grpc.ServicerContext) -> str:
    return shown_certificate(context.peer(), context.invocation_metadata(), context.auth_context)


def counted(grant: Grant | None) -> None:
    """Count a request of a token, which must still admit to inference.

    Raises:
        PermissionDenied: If it does not.
        Unauthenticated: If it was removed from the file.
    """
    if grant is not None:
        grant.check(Need.INFER)
        grant.requests += 1


def limited_answer(answer: Callable[[Any], Message], request: Any, grant: Grant | None) -> Message:  # noqa: ANN401 - a message
    """Answer a method of the protocol, as far as the models of a token go.

    Args:
        answer: Function that answers.
        request: Message of the request.
        grant: Grant of the call's token; None where none was asked for.

    Raises:
        PermissionDenied: If the request names another model.
    """
    if grant is None or grant.valid_token().models is None:
        return answer(request)
    field = _NAME_OF_MODEL.get(type(request))
    if field is not None and (name := getattr(request, field)):
        grant.check_model(name)
    response = answer(request)
    for entries in (getattr(response, field) for field in _OF_MODELS if hasattr(response, field)):
        kept = [entry for entry in entries if grant.is_for(entry.name)]
        del entries[:]
        entries.extend(kept)
    return response
