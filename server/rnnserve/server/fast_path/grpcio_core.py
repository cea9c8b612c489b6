"""grpcio's completion queue: the only file that names what grpcio keeps private.

grpcio's server takes one event at a time and hands each request to another thread. The fast path polls a completion
queue of its own instead, and starts the operations of its calls itself. Another version of grpcio may lack a part or
change it. `GrpcioCore` looks for the parts, and `check_fast_path` uses them before the server answers anybody.

Two threads wait for events: the fast path's, and grpcio's own, which has the calls of all other methods. gRPC reads the
sockets on one of the threads that wait, so `ArrivalPace` decides which thread does. Figures: docs/lab/findings.md, "The
fast path".
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
"""Versions of grpcio with which the fast path was tested; as in pyproject.toml."""

LONG_AGO = 1.0
"""A deadline in the past: `poll` returns at once, with an event or a time-out. `time.time()` takes a millisecond."""

_OWN_SECONDS, _PAUSE_SECONDS, _WAIT_SECONDS = 0.1, 0.01, 0.2
"""Of grpcio's own thread: seconds after an event in which it waits as usual, since a call has several events; seconds
between two looks while it leaves the sockets to the fast path; seconds of a wait, after which it decides again."""

_FEW, _FEW_CONNECTIONS = 8, 2
"""Requests that arrive together, and connections that they come from, up to which these are few."""

_SOON_SECONDS, _LOOK_SECONDS, _LOOK_INTERVALS = 500e-6, 150e-6, 1.5
"""If a request comes within the first after the one before, the fast path looks for the next one before it waits: for
at least the second, from the last arrival, and for so many times the interval between the last two. If requests come
every 250 microseconds, to look for 150 of them would be in vain."""

_FEW_SECONDS, _MANY_SECONDS = 0.25, 0.05
"""Seconds after the last request, and after many requests, from which on grpcio's own thread waits as usual."""


def choose_polling() -> bool:
    """Let the threads that wait for a completion queue read the sockets; return whether that was chosen.

    By default grpcio's listeners read on threads of an event engine, which costs two wake-ups a request. Its older
    listeners let the waiting threads read by themselves. On two cores, one request at a time takes 0.82 times as long,
    and 4 to 1,000 connections get 1.2 to 1.5 times as many answers.

    grpcio decides when it is first imported, so call this before. It sets the environment variable `GRPC_EXPERIMENTS`,
    unless that is set or grpcio is imported already.
    """
    if "grpc" in sys.modules or "GRPC_EXPERIMENTS" in os.environ:
        return False
    os.environ["GRPC_EXPERIMENTS"] = "-event_engine_listener"
    return True


def unusable(why: object) -> StartError:
    """Make the error that this grpcio cannot run the fast path."""
    version = importlib.import_module("grpc").__version__
    return StartError(
        f"the fast path does not work with grpcio {version} ({why}): install grpcio{_TESTED}, with which it was "
        "tested, or serve with --plain, which is slower"
    )


class ArrivalPace:
    """Notes how requests arrive, on the fast path's thread. Any thread may ask.

    If few requests come, one soon after the other, the fast path's thread looks for the next one before it waits: to
    wake a thread, and a core that sleeps, takes longer than to answer. And grpcio's own thread leaves the sockets to
    it. That works with epoll; with gRPC's other way, `poll`, each queue has sockets of its own, and both threads wait.
    """

    __slots__ = ("_connections", "_heard_at", "_heard_many_at", "_may_lead", "_may_look", "look_until")

    def __init__(self) -> None:
        self.look_until = 0.0  # when the thread looks no more, in seconds on the clock of `clock`; 0 if it waits
        self._heard_at = self._heard_many_at = 0.0
        self._connections: deque[str] = deque(maxlen=_FEW_CONNECTIONS)
        uses_epoll = os.environ.get("GRPC_POLL_STRATEGY", "all") in ("all", "epoll1")
        self._may_lead = sys.platform.startswith("linux") and uses_epoll
        # The client has to run meanwhile.
        self._may_look = hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1

    def note(self, arrived: Sequence[Any]) -> None:
        """Note requests that have arrived together, one at least."""
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
        """Whether only the fast path's thread is to read: a few requests have come a short while ago."""
        at = now()
        return self._may_lead and at - self._heard_at < _FEW_SECONDS and at - self._heard_many_at > _MANY_SECONDS


class CoreTag(abc.ABC):
    """Tag of events that grpcio's own thread hands to us. It keeps all others."""

    __slots__ = ()

    @abc.abstractmethod
    def __call__(self, event: Any) -> None:  # noqa: ANN401 - grpcio's own
        """Handle an event."""


class GrpcioCore:
    """The completion queue of a `grpc.Server` that has not been started, and operations, which its calls may share."""

    def __init__(self, server: "grpc.Server", pace: ArrivalPace) -> None:
        """Take the server's queue, and give grpcio's own thread another. Raise StartError if a part is missing."""
        from rnnserve.server.protocol.responses import trailing_metadata  # only here: it imports onnxruntime

        self._trailing_metadata = trailing_metadata
        self.may_accept = threading.Lock()
        self.is_told_to_stop = False
        try:
            cygrpc: Any = importlib.import_module("grpc._cython.cygrpc")
            state = server._state  # type: ignore[attr-defined]  # noqa: SLF001 - see above
            core = state.server
            self._close, self._send_status = cygrpc.ReceiveCloseOnServerOperation, cygrpc.SendStatusFromServerOperation
            self._status_codes = cygrpc.StatusCode
            self.auth_context_of = cygrpc.auth_context  # of a call: values by names
            # Calls of a registered method are requested with (queue, queue, method, tag).
            self.register, self.request_call = core.register_method, core.request_registered_call
            # Operations of a call: receive a message (0), send one (its bytes, 0), begin a response, end the call well,
            # complete when the call closes (only in a batch that ends the call).
            self.receive_message, self.send_message = cygrpc.ReceiveMessageOperation, cygrpc.SendMessageOperation
            self.no_metadata: object = cygrpc.SendInitialMetadataOperation((), 0)
            self.ok: object = self._send_status((), cygrpc.StatusCode.ok, b"", 0)
            self.close = self.new_close()
            self.exhausted = cygrpc.StatusCode.resource_exhausted  # for `call.cancel(status, words)`
            # `poll(deadline)` returns the fast path's next event; the last one has the type `shut_down`. The other
            # queue is that of grpcio's own thread, which hands events with a `CoreTag` to the tag.
            self.queue: Any = state.completion_queue
            self.shut_down = cygrpc.CompletionType.queue_shutdown
            self.serving_queue: object = _serving_queue(cygrpc, pace)
            core.register_completion_queue(self.serving_queue)
            state.completion_queue = self.serving_queue
        except (ImportError, AttributeError, TypeError) as error:
            raise unusable(error) from error

    def accept(self, queue: object, method: str, tag: object, count: int = 1) -> int:
        """Request calls of a method, unless told to stop, and return how many. Thread-safe."""
        with self.may_accept:
            count = 0 if self.is_told_to_stop else count
            for _ in range(count):
                self.request_call(queue, queue, method, tag)
        return count

    def stop_accepting(self) -> None:
        """Request no more calls, before the server is stopped: one requested meanwhile may end the process."""
        with self.may_accept:
            self.is_told_to_stop = True

    def new_close(self) -> object:
        """Make an operation that completes when a call closes, and says whether the call was cancelled."""
        return self._close(0)

    def status(self, error: ServeError | None, request_id: str = "") -> object:
        """Make the operation that ends a call: well, or with an error's status and the request's id, if known."""
        if error is None:
            return self.ok
        code = getattr(self._status_codes, error.status.lower())
        return self._send_status(self._trailing_metadata(error, request_id), code, str(error).encode(), 0)


def _serving_queue(cygrpc: Any, pace: ArrivalPace) -> object:  # noqa: ANN401 - grpcio's own
    """Make the queue of grpcio's own thread, for all other methods. It waits while many requests come, and reads them.

    While few come, it only looks now and then: else it would read a request and have to wake the fast path.
    """
    timeout = cygrpc.CompletionType.queue_timeout

    class ServingQueue(cygrpc.CompletionQueue):  # type: ignore[misc] # untyped
        own_at = 0.0  # when its last event came, in seconds on the clock of `clock`

        def poll(self, deadline: float) -> Any:  # noqa: ANN401 - grpcio's own
            """Return the next event of grpcio's own; at `deadline`, in seconds since the epoch, a time-out."""
            while isinstance((tag := (event := self._next(deadline)).tag), CoreTag):
                try:
                    tag(event)
                except Exception:  # noqa: BLE001 - a defect must not end the thread
                    _log.exception("Cannot handle an event of a control method")
                del tag, event  # a call lives as long as anything that refers to it
            return event

        def _next(self, deadline: float) -> Any:  # noqa: ANN401 - grpcio's own
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
