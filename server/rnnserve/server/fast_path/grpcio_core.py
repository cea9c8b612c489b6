"""grpcio's completion queue. This is the only file that uses grpcio's private parts.

grpcio's server takes one event at a time and passes each request to another thread. The fast path instead polls a
separate completion queue and starts the operations of its calls directly. Another version of grpcio may lack or change
a part. `GrpcioCore` therefore checks that the parts exist, and `check_fast_path` uses them before the server accepts
calls.

Two threads wait for events: the fast path's thread, and grpcio's own thread, which handles all other methods. gRPC
reads the sockets on one of the waiting threads, so `ArrivalPace` chooses this thread.
"""

import abc
import importlib
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rnnserve.server.clock import now
from rnnserve.server.errors import ServeError, StartError

if TYPE_CHECKING:
    import grpc

__all__ = ["LONG_AGO", "ArrivalPace", "CoreTag", "GrpcioCore", "choose_polling", "unusable"]

_log = logging.getLogger(__name__)

_TESTED = ">=1.76,<1.87"
"""Versions of grpcio with which the fast path was tested, as in pyproject.toml."""

LONG_AGO = 1.0
"""A deadline in the past: `poll` returns at once, with an event or a timeout. With `time.time()`, it takes 1 ms."""

_OWN_SECONDS, _PAUSE_SECONDS, _WAIT_SECONDS = 0.1, 0.01, 0.2
"""For grpcio's own thread: seconds after an event during which it waits normally, because a call has several events;
seconds between polls while the fast path reads the sockets; maximum seconds of a wait before it decides again."""

_FEW, _FEW_CONNECTIONS = 8, 2
"""Maximum number of requests arriving together, and of connections, that count as few."""

_SOON_SECONDS, _LOOK_SECONDS, _LOOK_INTERVALS = 500e-6, 150e-6, 1.5
"""If a request arrives within the first number of seconds after the previous one, the fast path polls for the next
request before it waits. It polls until the second number of seconds, or this multiple of the last interval if that is
longer, has passed since the last arrival. The multiple matters because, with a request every 250 µs, polling for 150 µs
would never find one."""

_FEW_SECONDS, _MANY_SECONDS = 0.25, 0.05
"""Seconds after the last request, and after many requests, when grpcio's own thread returns to normal waiting."""


def choose_polling() -> bool:
    """Let threads that wait on a completion queue read the sockets. Return whether this was configured.

    By default, grpcio's listeners read on threads of an event engine, which costs two wake-ups per request. With its
    older listeners, the waiting threads read the sockets. On two cores, a single client in a closed loop then takes
    0.82 times as long per request, and 4 to 1,000 connections get 1.2 to 1.5 times the throughput.

    grpcio decides this at its first import, so call this function before that. It sets the environment variable
    `GRPC_EXPERIMENTS`, unless that is already set or grpcio is already imported.
    """
    if "grpc" in sys.modules or "GRPC_EXPERIMENTS" in os.environ:
        return False
    os.environ["GRPC_EXPERIMENTS"] = "-event_engine_listener"
    return True


def unusable(why: object) -> StartError:
    """Return the error for a grpcio that cannot run the fast path."""
    version = importlib.import_module("grpc").__version__
    return StartError(
        f"the fast path does not work with grpcio {version} ({why}): install grpcio{_TESTED}, with which it was "
        "tested, or serve with --plain, which is slower"
    )


class ArrivalPace:
    """Tracks how requests arrive. Updated on the fast path's thread, readable from any thread.

    If few requests arrive, each shortly after the previous one, the fast path's thread polls for the next request
    before it waits, because waking a thread and a sleeping core takes longer than responding. grpcio's own thread
    meanwhile leaves the sockets to the fast path. This requires epoll. With gRPC's alternative, `poll`, each queue has
    separate sockets, and both threads wait.
    """

    __slots__ = ("_connections", "_heard_at", "_heard_many_at", "_may_lead", "_may_look", "look_until")

    def __init__(self) -> None:
        self.look_until = 0.0  # when polling ends, in seconds on `clock` (0 while waiting)
        self._heard_at = self._heard_many_at = 0.0
        self._connections: deque[str] = deque(maxlen=_FEW_CONNECTIONS)
        uses_epoll = os.environ.get("GRPC_POLL_STRATEGY", "all") in ("all", "epoll1")
        self._may_lead = sys.platform.startswith("linux") and uses_epoll
        # Polling needs a second core, because the client must run at the same time.
        self._may_look = hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1

    def note(self, arrived: Sequence[Any]) -> None:
        """Record requests that arrived together, at least one."""
        at = now()
        before, self._heard_at = self._heard_at, at
        if len(arrived) > _FEW:
            self._heard_many_at = at
        elif (connection := arrived[0].peer()) not in self._connections:
            self._connections.append(connection)
            self._heard_many_at = at
        elif self._may_look and (interval := at - before) < _SOON_SECONDS:
            self.look_until = at + max(_LOOK_SECONDS, _LOOK_INTERVALS * interval)

    def is_left_to_fast_path(self) -> bool:
        """Return whether only the fast path's thread should read: if few requests arrived recently."""
        at = now()
        return self._may_lead and at - self._heard_at < _FEW_SECONDS and at - self._heard_many_at > _MANY_SECONDS


class CoreTag(abc.ABC):
    """A tag whose events grpcio's own thread passes to our code. It handles all other events itself."""

    __slots__ = ()

    @abc.abstractmethod
    def __call__(self, event: Any) -> None:  # noqa: ANN401 - grpcio's type
        """Handle an event."""


class GrpcioCore:
    """The completion queue of a `grpc.Server` that hasn't been started, and reusable operations for its calls."""

    def __init__(self, server: "grpc.Server", pace: ArrivalPace) -> None:
        """Take the server's queue and create another for grpcio's thread. Raise StartError if a part is missing."""
        from rnnserve.server.protocol.responses import trailing_metadata  # imported here because it imports onnxruntime

        self._trailing_metadata = trailing_metadata
        self.may_accept = threading.Lock()
        self.is_told_to_stop = False
        try:
            cygrpc: Any = importlib.import_module("grpc._cython.cygrpc")
            state = server._state  # type: ignore[attr-defined]  # noqa: SLF001 - see above
            core = state.server
            self._close, self._send_status = cygrpc.ReceiveCloseOnServerOperation, cygrpc.SendStatusFromServerOperation
            self._status_codes = cygrpc.StatusCode
            self.auth_context_of = cygrpc.auth_context  # of a call: values by name
            # Calls of a registered method are requested with (queue, queue, method, tag).
            self.register, self.request_call = core.register_method, core.request_registered_call
            # Operations of a call: receive a message (0), send one (its bytes, 0), begin a response, end the call
            # successfully, complete when the call closes (only in a batch that ends the call).
            self.receive_message, self.send_message = cygrpc.ReceiveMessageOperation, cygrpc.SendMessageOperation
            self.no_metadata: object = cygrpc.SendInitialMetadataOperation((), 0)
            self.ok: object = self._send_status((), cygrpc.StatusCode.ok, b"", 0)
            self.close = self.new_close()
            self.exhausted = cygrpc.StatusCode.resource_exhausted  # for `call.cancel(status, words)`
            # `poll(deadline)` returns the fast path's next event. The last event has the type `shut_down`. The other
            # queue belongs to grpcio's own thread, which passes events with a `CoreTag` to the tag.
            self.queue: Any = state.completion_queue
            self.shut_down = cygrpc.CompletionType.queue_shutdown
            self.serving_queue: object = _serving_queue(cygrpc, pace)
            core.register_completion_queue(self.serving_queue)
            state.completion_queue = self.serving_queue
        except (ImportError, AttributeError, TypeError) as error:
            raise unusable(error) from error

    def accept(self, queue: object, method: str, tag: object, count: int = 1) -> int:
        """Request calls of a method, unless the server is stopping. Return how many were requested. Thread-safe."""
        with self.may_accept:
            count = 0 if self.is_told_to_stop else count
            for _ in range(count):
                self.request_call(queue, queue, method, tag)
        return count

    def stop_accepting(self) -> None:
        """Stop requesting calls. Must precede the server's stop: a request during the stop may crash the process."""
        with self.may_accept:
            self.is_told_to_stop = True

    def new_close(self) -> object:
        """Create an operation that completes when a call closes, and reports whether the call was cancelled."""
        return self._close(0)

    def status(self, error: ServeError | None, request_id: str = "") -> object:
        """Create the operation that ends a call: successfully, or with an error's status and the request's id."""
        if error is None:
            return self.ok
        code = getattr(self._status_codes, error.status.lower())
        return self._send_status(self._trailing_metadata(error, request_id), code, str(error).encode(), 0)


def _serving_queue(cygrpc: Any, pace: ArrivalPace) -> object:  # noqa: ANN401 - grpcio's type
    """Create the queue of grpcio's own thread, for all other methods.

    While many requests arrive, its thread waits and reads the sockets. While few arrive, it only polls now and then,
    because it would otherwise read requests and have to wake the fast path.
    """
    timeout = cygrpc.CompletionType.queue_timeout

    class ServingQueue(cygrpc.CompletionQueue):  # type: ignore[misc] # untyped
        own_at = 0.0  # time of its last event, in seconds on `clock`

        def poll(self, deadline: float) -> Any:  # noqa: ANN401 - grpcio's type
            """Return the next event for grpcio, or a timeout at `deadline` (seconds since the epoch)."""
            while isinstance((tag := (event := self._next(deadline)).tag), CoreTag):
                try:
                    tag(event)
                except Exception:  # noqa: BLE001 - a defect must not end the thread
                    _log.exception("Cannot handle an event of a control method")
                del tag, event  # a call lives as long as any reference to it
            return event

        def _next(self, deadline: float) -> Any:  # noqa: ANN401 - grpcio's type
            event = None
            while pace.is_left_to_fast_path() and now() - self.own_at > _OWN_SECONDS:
                event = super().poll(LONG_AGO)
                if event.completion_type != timeout or time.time() >= deadline:
                    break
                event = None
                time.sleep(_PAUSE_SECONDS)
            if event is None:
                event = super().poll(min(deadline, time.time() + _WAIT_SECONDS))
            if event.completion_type != timeout:
                self.own_at = now()
            return event

    return ServingQueue()
