"""The control methods: all methods except ModelInfer and ModelStreamInfer.

Methods with one request and one response arrive through the completion queue (`ControlPath`), so that calls without a
message don't occupy a thread. Health's Watch and server reflection are always ordinary handlers, and on the plain
transport, all control methods are. Their events come on grpcio's own thread. The fast path's thread may be in an
inference call that never ends, and health checks must work even then.

grpcio-reflection describes the services, for example for grpcurl. Its descriptors are copied into a separate pool,
because the stubs of the contracts use another one. It only has v1alpha. v1 is identical on the wire, so its description
is derived from v1alpha.
"""

import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any, NamedTuple, NoReturn

import grpc
from google.protobuf import descriptor_pb2, text_format
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import SERVICE_NAME, ReflectionServicer

from rnnserve.protos import health_pb2
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.access_table import INFERENCE, METHODS, SERVER_METADATA, Need, rows_missing
from rnnserve.server.access.gate import Gate, Grant
from rnnserve.server.clock import from_wall_clock
from rnnserve.server.connections.byte_budget import ByteBudget
from rnnserve.server.connections.private_socket import believed_peer, shown_certificate
from rnnserve.server.counting.table import count_refusal
from rnnserve.server.errors import InternalError, InvalidRequest, ServeError, StartError, Unsupported
from rnnserve.server.fast_path.calls import UnaryCall
from rnnserve.server.fast_path.grpcio_core import CoreTag, GrpcioCore
from rnnserve.server.observing.observer import tell_refusal
from rnnserve.server.observing.origins import Origin, origin_of
from rnnserve.server.protocol.responses import trailing_metadata
from rnnserve.server.protocol.service import Method, Service
from rnnserve.server.transport.health import HEALTH_SERVICE, HealthService
from rnnserve.server.validation.parsing import decompress

__all__ = ["INFERENCE_SERVICE", "Caller", "ControlMethods", "ControlPath", "GrantOf", "UnaryMethod", "abort"]

INFERENCE_SERVICE = INFERENCE.strip("/")

_ALPHA, _V1 = "grpc.reflection.v1alpha", "grpc.reflection.v1"
_REFLECTION_SERVICES = (SERVICE_NAME, SERVICE_NAME.replace(_ALPHA, _V1))

_CONTROL_THREADS = 16
"""Threads for the methods that respond at once."""

_LOADING_THREADS = 4
"""Threads for the methods that load models. Most of them wait, because changes are made one after another."""

_LASTING = 256
"""Calls of health's Watch and of server reflection open at once, because each occupies a thread. gRPC's clients
consider a server healthy whose Watch is UNIMPLEMENTED, and rely on the statuses of their calls. With any other status,
they would send it no requests (gRPC's proposal A17). Beyond it: UNIMPLEMENTED."""

_REFUSING_THREADS = 8

_MAX_CONTROL_BYTES = 1 << 20
"""Bytes of a request of a control method, decompressed. Beyond it: INVALID_ARGUMENT."""

_MAX_REFLECTION_BYTES = 4096
"""Bytes of a request of server reflection, which the response repeats. Names of symbols and files have some dozen
bytes. Beyond it: INVALID_ARGUMENT."""

_NAME_OF_MODEL: Mapping[type[Message], str] = {
    pb.ModelReadyRequest: "name",
    pb.ModelMetadataRequest: "name",
    pb.ModelConfigRequest: "name",
    pb.ModelStatisticsRequest: "name",
    pb.RepositoryModelLoadRequest: "model_name",
    pb.RepositoryModelUnloadRequest: "model_name",
}
"""The field of a request that names a model. It may be empty in some requests, for all models."""

_OF_MODELS = ("models", "model_stats")
"""Response fields that list several models: of RepositoryIndex and ModelStatistics."""

GrantOf = Callable[[], Grant | None]
"""Returns the grant of a control method's caller, or None if the server requires no credentials."""

# RpcMethodHandler is generic only in its type stubs, so annotations with it are quoted.
_Handler = Callable[[Any, grpc.ServicerContext], Any]
_Converse = Callable[[Any, grpc.ServicerContext, Callable[[], GrantOf]], Iterator[bytes]]


_OUTSTANDING = 4
"""Number of calls of a method that can arrive between two polls of the queue without waiting to be accepted."""


class UnaryMethod(NamedTuple):
    """A method with one request and one response that needs no inference."""

    name: str  # full name, "/package.Service/Method"
    admit: Callable[
        [Any, Callable[[], str]], GrantOf
    ]  # checks the metadata and client certificate, or raises ServeError
    answer: Callable[[bytes, GrantOf], bytes]  # computes the response's bytes from the request's bytes
    pool: futures.Executor  # runs `answer`


class _ControlCall(UnaryCall, CoreTag):
    """A call of a control method, and the tag of its events (message received, response sent)."""

    __slots__ = ("_grant_of", "_method")

    def begin(self, method: UnaryMethod) -> None:
        """Check access and receive the message, or refuse the call."""
        self._method = method
        self._grant_of: GrantOf | None = None
        try:
            self._grant_of = method.admit(self._metadata, self.certificate)
        except ServeError as error:
            self.refuse(error)
        else:
            self.call.start_server_batch((self._door.core.receive_message(0),), self)

    def origin(self) -> Origin:
        return origin_of(self.peer(), self._metadata, "", self._method.name.rpartition("/")[2])

    def __call__(self, event: Any) -> None:  # noqa: ANN401 - grpcio's type
        if self.is_answered:
            self._grant_of = None  # breaks a reference cycle with this call
            self._door.call_is_over()
            self.let_go()
            return
        payload = event.batch_operations[0].message()
        if payload is None:
            self.end_without_message()
        else:
            self.payload = payload
            self._method.pool.submit(self._run)

    def _run(self) -> None:
        assert self._grant_of is not None  # noqa: S101 - for the type checker
        try:
            self.answer(self._method.answer(self.payload, self._grant_of))
        except ServeError as error:
            self.refuse(error)
        except Exception as error:  # noqa: BLE001 - a defect must not leave the caller waiting or end the thread
            self.refuse(InternalError.hiding(error))


class _Acceptance(CoreTag):
    """Tag of the events that announce a call of a method. It begins the call and requests the next one."""

    __slots__ = ("_method", "_path")

    def __init__(self, path: "ControlPath", method: UnaryMethod) -> None:
        self._path = path
        self._method = method

    def __call__(self, event: Any) -> None:  # noqa: ANN401 - grpcio's type
        if event.success:  # otherwise the server is stopping
            self._path.accept(self._method.name, self)
            deadline, metadata = from_wall_clock(event.call_details.deadline), event.invocation_metadata
            _ControlCall(self._path, event.call, deadline, metadata, metadata).begin(self._method)


class ControlPath:
    """Receives the calls of control methods. Implements `FastDoor`."""

    handing_on = 0

    def __init__(self, core: GrpcioCore, budget: ByteBudget, methods: Sequence[UnaryMethod]) -> None:
        """Register the methods before the server is started."""
        self.core = core
        self.budget = budget
        self._methods = methods
        for method in methods:
            core.register(method.name)

    def start(self) -> None:
        """Start receiving, after the server has been started."""
        for method in self._methods:
            self.accept(method.name, _Acceptance(self, method), _OUTSTANDING)

    def accept(self, method: str, tag: CoreTag, count: int = 1) -> None:
        """Request further calls of a method."""
        self.core.accept(self.core.serving_queue, method, tag, count)

    def call_is_over(self) -> None:
        """Do nothing, because grpcio's server waits for all calls."""


class Caller:
    """The client of a call on grpcio's own threads."""

    grant: Grant | None = None  # its permissions (None if no credentials are required)

    def __init__(self, context: grpc.ServicerContext, method: str) -> None:
        self.context = context
        self._method = method

    @functools.cached_property
    def _name(self) -> str:
        return believed_peer(self.context.peer(), self.context.invocation_metadata())

    def peer(self) -> str:
        """Return the connection's name."""
        return self._name

    def certificate(self) -> str:
        """Return the client's certificate, or an empty string."""
        context = self.context
        return shown_certificate(context.peer(), context.invocation_metadata(), context.auth_context)

    def origin(self, message_id: str = "") -> Origin:
        """Return the request's origin."""
        return origin_of(self.peer(), self.context.invocation_metadata(), message_id, self._method.rpartition("/")[2])

    def admit(self, gate: Gate | None) -> Grant | None:
        """Pass the gate. Raises ServeError if the call is not allowed."""
        if gate is not None:
            self.grant = gate.admit(self._method, self.context.invocation_metadata(), self.certificate)
        return self.grant


def abort(caller: Caller, error: Exception) -> NoReturn:
    """End a call with an error's status. Count and log the error if it is new. Hides defects."""
    shown = error if isinstance(error, ServeError) else InternalError.hiding(error)
    # Otherwise the error's traceback, which holds a frame with the error as a variable, would keep the call.
    shown.__traceback__ = shown.__context__ = None
    if not shown.request_id:
        count_refusal(shown)
        shown.request_id = tell_refusal(caller, shown)
    caller.context.set_trailing_metadata(trailing_metadata(shown, shown.request_id))
    caller.context.abort(grpc.StatusCode[shown.status], str(shown))
    raise AssertionError  # for the type checker, because `abort` raises


class ControlMethods:
    """The handlers and their threads."""

    def __init__(self, service: Service, health: HealthService, gate: Gate | None) -> None:
        self._gate = gate
        self._answering = futures.ThreadPoolExecutor(_CONTROL_THREADS, "control")
        self._loading = futures.ThreadPoolExecutor(_LOADING_THREADS, "loading")
        self._lasting = futures.ThreadPoolExecutor(_LASTING + _REFUSING_THREADS, "lasting")
        self._lasting_slots = threading.Semaphore(_LASTING)
        self._reflection = _new_reflection()
        self.methods = [
            *(
                self._method(f"{INFERENCE}{name}", _answering(method, name), takes_long=method.takes_long)
                for name, method in service.methods.items()
            ),
            self._method(f"/{HEALTH_SERVICE}/Check", health.check),
            self._method(f"/{HEALTH_SERVICE}/List", health.list),
        ]
        watch = f"/{HEALTH_SERVICE}/Watch"
        self._lasting_methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            watch: grpc.unary_stream_rpc_method_handler(self._lasting_handler(watch, health.watch)),
            **{
                name: grpc.stream_stream_rpc_method_handler(self._lasting_handler(name, self._reflect))
                for name in [f"/{service}/ServerReflectionInfo" for service in _REFLECTION_SERVICES]
            },
        }

    def add_to(self, server: grpc.Server, *, is_plain: bool) -> None:
        """Add ordinary handlers: for all methods on a plain server, otherwise for methods that need a thread."""
        if missing := rows_missing([*self._lasting_methods, *(method.name for method in self.methods)]):
            raise StartError(f"no access rule for {', '.join(missing)}; add one in rnnserve/protos/access_table.py")
        handlers = self._lasting_methods | ({each.name: _handler(each) for each in self.methods} if is_plain else {})
        for name, handler in handlers.items():
            _, service, method = name.split("/")
            server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {method: handler})])

    def shutdown(self) -> None:
        """End the threads after their current work."""
        for pool in (self._answering, self._loading, self._lasting):
            pool.shutdown(wait=False)

    def _method(self, name: str, answer: Callable[[bytes, GrantOf], bytes], *, takes_long: bool = False) -> UnaryMethod:
        pool = self._loading if takes_long else self._answering
        return UnaryMethod(name, functools.partial(self._admit, name), answer, pool)

    def _admit(self, method: str, metadata: Any, certificate: Callable[[], str]) -> GrantOf:  # noqa: ANN401 - grpcio's type
        """Check a call's access, or raise ServeError. Return a function that returns the caller's current grant."""
        gate = self._gate
        if gate is None:
            return _no_grant
        gate.admit(method, metadata, certificate)
        if method == SERVER_METADATA:
            gate.admit_route(metadata, certificate)
        return functools.partial(gate.grant_with, Need.ANY_TOKEN, metadata, certificate)

    def _lasting_handler(self, method: str, converse: _Converse) -> _Handler:
        """Create the handler of a call that occupies a thread. Limits their number. `converse` can recheck access."""

        def handle(request: Any, context: grpc.ServicerContext) -> Iterator[bytes]:  # noqa: ANN401 - bytes, or an iterator of bytes
            caller = Caller(context, method)
            admit = functools.partial(self._admit, method, context.invocation_metadata(), caller.certificate)
            try:
                admit()
                if not self._lasting_slots.acquire(blocking=False):
                    too_many = f"{_LASTING} watches and reflections are already open; call Check instead"
                    raise Unsupported(too_many)  # noqa: TRY301 - handled like the errors of `converse`
                try:
                    yield from converse(request, context, admit)
                finally:
                    self._lasting_slots.release()
            except grpc.RpcError:
                return  # the call has ended
            except Exception as error:  # noqa: BLE001 - a defect must not reach a caller or end the thread
                abort(caller, error)

        handle.experimental_thread_pool = self._lasting  # type: ignore[attr-defined]
        return handle

    def _reflect(
        self, messages: Iterator[bytes], context: grpc.ServicerContext, admit: Callable[[], GrantOf]
    ) -> Iterator[bytes]:
        """Handle ServerReflectionInfo: answer each request before reading the next."""
        for payload in messages:
            admit()
            if len(payload) > _MAX_REFLECTION_BYTES:
                raise InvalidRequest(
                    f"the request has {len(payload):,} bytes, but server reflection accepts at most "
                    f"{_MAX_REFLECTION_BYTES:,}"
                )
            try:
                request = reflection_pb2.ServerReflectionRequest.FromString(payload)
            except DecodeError:
                raise InvalidRequest("the request is not a ServerReflectionRequest") from None
            for response in self._reflection.ServerReflectionInfo(iter([request]), context):
                yield response.SerializeToString()


def _handler(method: UnaryMethod) -> "grpc.RpcMethodHandler[bytes, bytes]":
    """Create an ordinary handler for a method with one request and one response."""

    def handle(payload: bytes, context: grpc.ServicerContext) -> bytes:
        caller = Caller(context, method.name)
        try:
            return method.answer(payload, method.admit(context.invocation_metadata(), caller.certificate))
        except Exception as error:  # noqa: BLE001 - as above
            abort(caller, error)

    handle.experimental_thread_pool = method.pool  # type: ignore[attr-defined]
    return grpc.unary_unary_rpc_method_handler(handle)


def _no_grant() -> None:
    """Return None: a server without a gate has no grants."""


def _answering(method: Method, name: str) -> Callable[[bytes, GrantOf], bytes]:
    """Return a function from request bytes to response bytes that includes only the models of the caller's grant."""
    is_open = METHODS[f"{INFERENCE}{name}"] is Need.HEALTH

    def answer(payload: bytes, grant_of: GrantOf) -> bytes:
        # Parsing 10 MB with a million settings takes seconds and 250 MB, and nothing else runs meanwhile.
        payload = decompress(payload, _MAX_CONTROL_BYTES)
        if len(payload) > _MAX_CONTROL_BYTES:
            raise InvalidRequest(
                f"the request has {len(payload):,} bytes, but this method accepts at most {_MAX_CONTROL_BYTES:,}"
            )
        try:
            request = method.request.FromString(payload)
        except DecodeError:
            raise InvalidRequest(
                f"the request's {len(payload):,} bytes are not a valid request message of this method"
            ) from None
        grant = None if is_open else grant_of()
        if grant is None or grant.valid_token().models is None:
            return method.answer(request).SerializeToString()
        field = _NAME_OF_MODEL.get(type(request))
        if field is not None and (model := getattr(request, field)):
            grant.check_model(model)
        response = method.answer(request)
        for entries in [getattr(response, field) for field in _OF_MODELS if hasattr(response, field)]:
            kept = [entry for entry in entries if grant.is_for(entry.name)]
            del entries[:]
            entries.extend(kept)
        return response.SerializeToString()

    return answer


def _new_reflection() -> ReflectionServicer:
    """Create the servicer that describes this server's services, in both versions of server reflection."""
    pool = DescriptorPool()
    added: set[str] = set()

    def add(file: FileDescriptor) -> None:
        """Copy a file into the pool, after the files that it imports."""
        for imported in file.dependencies:
            add(imported)
        if file.name not in added:
            added.add(file.name)
            pool.AddSerializedFile(file.serialized_pb)

    files: list[Any] = [pb.DESCRIPTOR, health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR]
    for file in files:
        add(file)
    described = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(described)
    text = text_format.MessageToString(described).replace(_ALPHA, _V1)
    described = text_format.Parse(text, descriptor_pb2.FileDescriptorProto())
    described.name = "grpc/reflection/v1/reflection.proto"
    pool.AddSerializedFile(described.SerializeToString())
    services = [service.full_name for file in files for service in file.services_by_name.values()]
    return ReflectionServicer([*services, _REFLECTION_SERVICES[1]], pool)
