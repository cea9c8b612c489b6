"""The gate before the methods of the public transport: a call that it refuses comes to no handler, nor its message.

It is asked on the thread of the method, before its message is received: grpcio shows certificates to handlers only.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import grpc
from google.protobuf.message import Message

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.access_table import METHODS, SERVER_METADATA, Need, rows_missing
from rnnserve.server.access.gate import Gate, Grant
from rnnserve.server.connections.private_socket import shown_certificate
from rnnserve.server.errors import StartError, Unauthenticated
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
    """Lets calls in by their methods and tokens, and ends those that last, if their tokens end."""

    def __init__(self, gate: Gate) -> None:
        """Begin without calls."""
        self._gate = gate
        self._lasting: dict[grpc.ServicerContext, tuple[Grant, Need]] = {}

    def guarded(self, service: str, handlers: Handlers) -> grpc.GenericRpcHandler:
        """Put the gate before the handlers of a service: each takes its messages one by one, and none before that."""
        guarded = {name: self._guarded(f"/{service}/{name}", handler) for name, handler in handlers.items()}
        return grpc.method_handlers_generic_handler(service, guarded)

    def end_revoked(self) -> None:
        """End the calls that last, whose tokens do not admit to them any more. For any thread."""
        for context, (grant, need) in list(self._lasting.items()):
            if not grant.admits(need):
                end_call(context, str(grant.refusal()), grpc.StatusCode.UNAUTHENTICATED)

    def _guarded(self, method: str, handler: "grpc.RpcMethodHandler[Any, Any]") -> "grpc.RpcMethodHandler[Any, Any]":
        answer: Any = handler.stream_stream or handler.stream_unary
        name, need, lasting = method.rpartition("/")[2], METHODS[method], self._lasting

        def handle(messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            with ErrorsAsStatuses(context, name):
                self._admit(method, context)
            return answer(messages, context)  # type: ignore[no-any-return]

        def handle_stream(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            with ErrorsAsStatuses(context, name):
                self._admit(method, context)
            with contextlib.suppress(Unauthenticated):  # health may be asked for without a token
                lasting[context] = _known(self._gate, context), need
            try:
                yield from answer(messages, context)
            finally:
                lasting.pop(context, None)

        made: Any = handle_stream if handler.stream_stream else handle
        made.experimental_thread_pool = answer.experimental_thread_pool
        if handler.stream_stream:
            return grpc.stream_stream_rpc_method_handler(made)
        return grpc.stream_unary_rpc_method_handler(made)

    def _admit(self, method: str, context: grpc.ServicerContext) -> None:
        """Let a call in.

        Raises:
            PermissionDenied: If its caller may not.
            Unauthenticated: If it brings nothing that is valid.
        """
        metadata, certificate = context.invocation_metadata(), functools.partial(_certificate_of, context)
        self._gate.admit(method, metadata, certificate)
        if method == SERVER_METADATA:
            self._gate.admit_route(metadata, certificate)


def grant_of(gate: Gate | None, context: grpc.ServicerContext) -> Grant | None:
    """Return what the caller of a call may do that was let in; None without a gate.

    Raises:
        Unauthenticated: If it is no more.
    """
    return None if gate is None else _known(gate, context)


def _known(gate: Gate, context: grpc.ServicerContext) -> Grant:
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
    """Answer a method of the protocol, as far as the models of a token go; `grant` is None without tokens.

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
