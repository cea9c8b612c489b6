"""Large requests: parsed and checked on a thread of their own, one after another, and run on their model's thread."""

import queue
import threading

from rnnserve.server.batching.clock import now
from rnnserve.server.batching.scheduler import Schedulers
from rnnserve.server.errors import DeadlinePassed, InternalError, ServeError
from rnnserve.server.lane.arrived_requests import ArrivedRequest
from rnnserve.server.lane.pending_calls import ParsedCall, PendingCall, StepCall
from rnnserve.server.protocol.service import Service

__all__ = ["LargeRequests"]


class LargeRequests:
    """Takes calls from the lane. How many wait is bounded by the bytes that calls may hold."""

    def __init__(self, service: Service, schedulers: Schedulers) -> None:
        """Start the thread.

        Args:
            service: Takes requests through the boundary.
            schedulers: The models' threads, which run them.
        """
        self._service = service
        self._schedulers = schedulers
        self._waiting: queue.SimpleQueue[tuple[ArrivedRequest, float] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name="large requests", daemon=True)
        self._thread.start()

    def submit(self, call: ArrivedRequest) -> None:
        """Take a call that has just arrived; it is answered later, from another thread."""
        self._waiting.put((call, now()))

    def close(self, timeout: float | None = None) -> bool:
        """Take what waits, and end the thread. To be called when no more calls arrive.

        Args:
            timeout: How many seconds that may take.

        Returns:
            Whether the thread has ended.
        """
        self._waiting.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        while (taken := self._waiting.get()) is not None:
            call, arrived = taken
            try:
                self._admit(call, arrived)
            except ServeError as error:
                call.refuse(error)
            except Exception as error:  # noqa: BLE001 - one request's defect must not cost the others' answers
                call.refuse(InternalError.hiding(error))
            del call, taken  # it may hold 16 MB until the next one comes

    def _admit(self, call: ArrivedRequest, arrived: float) -> None:
        if call.deadline < now():
            raise DeadlinePassed("the deadline passed before the request was read")
        served, checked = self._service.accept(call.payload)
        call.payload = b""  # the checked request has its bytes
        pending = ParsedCall(call, served, checked, arrived)
        if checked.sequence is None:
            self._submit(pending)
        else:
            step = self._service.sequences.enter(served, checked.sequence, call.peer, call.stream)
            StepCall(pending, step, None).when_its_turn(self._submit)

    def _submit(self, pending: PendingCall) -> None:
        pending.watch()
        try:
            self._schedulers.submit(pending.served.model, pending)
        except ServeError as error:
            pending.refuse(error)
