"""grpcio's completion queue: the only file that names what grpcio keeps private.

grpcio's server takes one event at a time and hands each request to another thread. The fast path polls a completion
queue of its own instead, and starts the operations of its calls itself. Another version of grpcio may lack a part or
change it. `GrpcioCore` looks for the parts, and `self_test` uses them before the server answers anybody.
"""

import importlib
import importlib.util
import logging
import mmap
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnserve.server.clock import now
from rnnserve.server.errors import ServeError, StartError
from rnnserve.server.protocol.responses import trailing_metadata

if TYPE_CHECKING:
    import grpc

    from rnnserve.server.fast_path.arrival_pace import ArrivalPace

__all__ = ["LONG_AGO", "CoreTag", "GrpcioCore", "choose_polling", "unusable"]

_log = logging.getLogger(__name__)

_TESTED = ">=1.76,<1.87"
"""Versions of grpcio with which the fast path was tested; as in pyproject.toml."""

_EXPERIMENT = "event_engine_listener"

LONG_AGO = 1.0
"""A deadline in the past: `poll` returns at once, with an event or a time-out. `time.time()` takes a millisecond."""

_OWN_SECONDS = 0.1
"""Seconds after an event of grpcio's own thread in which that thread waits as usual: a call has several events."""

_PAUSE_SECONDS = 0.01
"""Seconds between two looks of grpcio's own thread while it leaves the sockets to the fast path."""

_WAIT_SECONDS = 0.2
"""Seconds of a wait of grpcio's own thread, after which it decides again."""


def choose_polling() -> bool:
    """Let the threads that wait for a completion queue read the sockets, in this process and those that it starts.

    By default grpcio's listeners read on threads of an event engine, which costs two wake-ups a request. Its older
    listeners let the waiting threads read by themselves. On two cores, one request at a time takes 0.82 times as long,
    and 4 to 1,000 connections get 1.2 to 1.5 times as many answers.

    grpcio decides when it is first imported, so call this before. It sets the environment variable `GRPC_EXPERIMENTS`.
    It changes nothing if grpcio is imported already, if the variable is set, or if grpcio no longer has the choice.

    Returns:
        Whether it has chosen.
    """
    if "grpc" in sys.modules or "GRPC_EXPERIMENTS" in os.environ or not _has_experiment():
        return False
    os.environ["GRPC_EXPERIMENTS"] = f"-{_EXPERIMENT}"
    return True


def _has_experiment() -> bool:
    """Whether grpcio's library contains the experiment's name: it reports unknown names on standard error."""
    spec = importlib.util.find_spec("grpc")
    if spec is None or spec.origin is None:
        return False
    for library in Path(spec.origin).parent.glob("_cython/cygrpc*"):
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(_EXPERIMENT.encode()) >= 0:
                return True
    return False


def unusable(why: object) -> StartError:
    """Say that this grpcio cannot run the fast path, and what to do."""
    version = importlib.import_module("grpc").__version__
    return StartError(
        f"the fast path does not work with grpcio {version} ({why}): install grpcio{_TESTED}, with which it was "
        "tested, or serve with --plain, which is slower"
    )


class CoreTag:
    """Tag of events that grpcio's own thread hands to us; it keeps all others."""

    __slots__ = ()

    def complete(self, event: Any) -> None:  # noqa: ANN401 - grpcio's own
        """Handle an event."""
        raise NotImplementedError


class GrpcioCore:
    """The completion queue of a `grpc.Server` that has not been started, and the operations of its calls.

    Calls may share the operations that are attributes: empty metadata and details own no memory, and the result of
    `close` is never read.

    Attributes:
        queue: The fast path's completion queue; `poll(deadline)` returns its next event.
        serving_queue: The queue of grpcio's own thread, which hands events with a `CoreTag` to the tag.
        request_call: Requests a call of a registered method: (queue, queue, method, tag).
        receive_message: Makes the operation that receives a message; its argument is 0.
        send_message: Makes the operation that sends a message; its arguments are the bytes and 0.
        no_metadata: The operation that begins a response.
        ok: The operation that ends a call well.
        close: An operation that completes when a call closes. Use it only in a batch that ends the call.
        shut_down: Completion type of the last event of a queue.
        exhausted: The status RESOURCE_EXHAUSTED, for `call.cancel(status, words)`.
    """

    def __init__(self, server: "grpc.Server", pace: "ArrivalPace") -> None:
        """Take the server's completion queue, and give grpcio's own thread another one.

        Args:
            server: The server.
            pace: How requests arrive, which decides whether grpcio's own thread waits, too.

        Raises:
            StartError: If this grpcio lacks a part.
        """
        try:
            cygrpc: Any = importlib.import_module("grpc._cython.cygrpc")
            state = server._state  # type: ignore[attr-defined]  # noqa: SLF001 - see above
            self._core = state.server
            self._auth_context = cygrpc.auth_context
            self._close, self._send_status = cygrpc.ReceiveCloseOnServerOperation, cygrpc.SendStatusFromServerOperation
            self._status_codes = cygrpc.StatusCode
            self.register, self.request_call = self._core.register_method, self._core.request_registered_call
            self.receive_message, self.send_message = cygrpc.ReceiveMessageOperation, cygrpc.SendMessageOperation
            self.no_metadata: object = cygrpc.SendInitialMetadataOperation((), 0)
            self.ok: object = self._send_status((), cygrpc.StatusCode.ok, b"", 0)
            self.close = self.new_close()
            self.shut_down = cygrpc.CompletionType.queue_shutdown
            self.exhausted = cygrpc.StatusCode.resource_exhausted
            self.queue: Any = state.completion_queue
            self.serving_queue: object = _serving_queue(cygrpc, pace)
            self._core.register_completion_queue(self.serving_queue)
            state.completion_queue = self.serving_queue
        except (ImportError, AttributeError, TypeError) as error:
            raise unusable(error) from error

    def new_close(self) -> object:
        """Make an operation that completes when a call closes, and says whether the call was cancelled."""
        return self._close(0)

    def status(self, error: ServeError | None, request_id: str = "") -> object:
        """Make the operation that ends a call: well, or with an error's status and the request's id, if known."""
        if error is None:
            return self.ok
        code = getattr(self._status_codes, error.status.lower())
        return self._send_status(trailing_metadata(error, request_id), code, str(error).encode(), 0)

    def auth_context_of(self, call: Any) -> Any:  # noqa: ANN401 - grpcio's own
        """Give gRPC's context of authentication of a call: values by names."""
        return self._auth_context(call)


def _serving_queue(cygrpc: Any, pace: "ArrivalPace") -> object:  # noqa: ANN401 - grpcio's own
    """Make the queue of grpcio's own thread, which takes the calls of all other methods.

    gRPC reads the sockets on one of the threads that wait for a queue. If grpcio's own thread waits, too, it often
    reads a request, and then has to wake the fast path: two wake-ups in place of one. But while the fast path runs a
    batch, that thread reads what arrives. So it waits while many requests come; while few come, it only looks now and
    then.
    """
    timeout = cygrpc.CompletionType.queue_timeout

    class ServingQueue(cygrpc.CompletionQueue):  # type: ignore[misc] # untyped
        own_at = 0.0  # when its last event came, in seconds on the clock of `clock`

        def poll(self, deadline: float) -> Any:  # noqa: ANN401 - grpcio's own
            """Return the next event of grpcio's own; at `deadline`, in seconds since the epoch, a time-out."""
            while isinstance((tag := (event := self._next(deadline)).tag), CoreTag):
                try:
                    tag.complete(event)
                except Exception:  # noqa: BLE001 - a defect must not end the thread
                    _log.exception("Cannot handle an event of a control method")
                del tag, event  # a call lives as long as anything that refers to it
            return event

        def _next(self, deadline: float) -> Any:  # noqa: ANN401 - grpcio's own
            while pace.is_left_to_fast_path() and now() - self.own_at > _OWN_SECONDS:
                event = super().poll(LONG_AGO)
                if event.completion_type != timeout:
                    self.own_at = now()
                    return event
                if time.time() >= deadline:
                    return event
                time.sleep(_PAUSE_SECONDS)
            event = super().poll(min(deadline, time.time() + _WAIT_SECONDS))
            if event.completion_type != timeout:
                self.own_at = now()
            return event

    return ServingQueue()
