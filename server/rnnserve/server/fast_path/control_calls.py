"""Calls of control methods, received through the completion queue, so that a call without a message keeps no thread.

Their events come on grpcio's own thread and not on the fast path's, which may be in a run that does not end: health is
answered then, too.
"""

from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, NamedTuple

from rnnserve.server.access.gate import Grant
from rnnserve.server.clock import from_wall_clock
from rnnserve.server.connections.byte_budget import ByteBudget
from rnnserve.server.errors import InternalError, ServeError
from rnnserve.server.fast_path.calls import UnaryCall
from rnnserve.server.fast_path.grpcio_core import CoreTag, GrpcioCore
from rnnserve.server.observing.origins import Origin, origin_of

__all__ = ["ControlPath", "GrantOf", "UnaryMethod"]

_OUTSTANDING = 4
"""How many calls of a method may arrive between two looks at the queue without waiting for one of them."""

GrantOf = Callable[[], Grant | None]
"""Returns what the caller of a control method may do. None on a server that asks for no token."""


class UnaryMethod(NamedTuple):
    """A method with one request and one response that no model answers."""

    name: str  # in full, "/package.Service/Method"
    admit: Callable[[Any, Callable[[], str]], GrantOf]  # by the metadata and the client's certificate, or raises
    answer: Callable[[bytes, GrantOf], bytes]  # turns the request's bytes into the response's
    pool: futures.Executor  # on which it answers


class _ControlCall(UnaryCall, CoreTag):
    """A call of a control method, and the tag of its events: its message has arrived, its answer has been sent."""

    __slots__ = ("_grant_of", "_method")

    def begin(self, method: UnaryMethod) -> None:
        """Let it in, and receive its message, or refuse it."""
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

    def __call__(self, event: Any) -> None:  # noqa: ANN401 - grpcio's own
        if self.is_answered:
            self._grant_of = None  # it refers to this call
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
        except Exception as error:  # noqa: BLE001 - a defect must neither keep the caller waiting nor end the thread
            self.refuse(InternalError.hiding(error))


class _Acceptance(CoreTag):
    """Tag of the events that bring a call of a method: it begins the call, and requests the next one."""

    __slots__ = ("_method", "_path")

    def __init__(self, path: "ControlPath", method: UnaryMethod) -> None:
        self._path = path
        self._method = method

    def __call__(self, event: Any) -> None:  # noqa: ANN401 - grpcio's own
        if event.success:  # otherwise the server is being stopped
            self._path.accept(self._method.name, self)
            deadline, metadata = from_wall_clock(event.call_details.deadline), event.invocation_metadata
            _ControlCall(self._path, event.call, deadline, metadata, metadata).begin(self._method)


class ControlPath:
    """Receives the calls of control methods. Implements `FastDoor`."""

    handing_on = 0

    def __init__(self, core: GrpcioCore, budget: ByteBudget, methods: Sequence[UnaryMethod]) -> None:
        """Register the methods, before the server is started."""
        self.core = core
        self.budget = budget
        self._methods = methods
        for method in methods:
            core.register(method.name)

    def start(self) -> None:
        """Begin to receive, after the server has been started."""
        for method in self._methods:
            self.accept(method.name, _Acceptance(self, method), _OUTSTANDING)

    def accept(self, method: str, tag: CoreTag, count: int = 1) -> None:
        """Request more calls of a method."""
        self.core.accept(self.core.serving_queue, method, tag, count)

    def call_is_over(self) -> None:
        """Nothing: grpcio's server waits for all calls."""
