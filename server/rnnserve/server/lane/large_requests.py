"""Large requests: parsed and checked on a thread of their own, one after another, and run on their model's thread."""

import queue
import threading

from rnnserve.server.batching.clock import now
from rnnserve.server.batching.scheduler import Schedulers
from rnnserve.server.errors import DeadlinePassed, InternalError, ServeError
from rnnserve.server.lane.completion_queue import LaneCall
from rnnserve.server.lane.pending_calls import ParsedCall
from rnnserve.server.protocol.service import Service

__all__ = ["LargeRequests"]

_HANG_SECONDS = 60.0
"""Seconds after which a request that is parsed and checked can be taken for hung: 16 MB take one, alone."""


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
        self._waiting: queue.SimpleQueue[tuple[LaneCall, float] | None] = queue.SimpleQueue()
        self._since: float | None = None  # when the one that is parsed was taken
        self._thread = threading.Thread(target=self._loop, name="large requests", daemon=True)
        self._thread.start()

    def submit(self, call: LaneCall) -> None:
        """Take a call that has just arrived; it is answered later, from another thread."""
        self._waiting.put((call, now()))

    def is_hung(self) -> bool:
        """Whether one takes much longer to parse than any should. For any thread."""
        since = self._since
        return since is not None and now() - since > _HANG_SECONDS

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
            self._since = now()
            try:
                self._admit(call, arrived)
            except ServeError as error:
                call.refuse(error)
            except Exception as error:  # noqa: BLE001 - one request's defect must not cost the others' answers
                call.refuse(InternalError.hiding(error))
            self._since = None
            del call, taken  # it may hold 16 MB until the next one comes

    def _admit(self, call: LaneCall, arrived: float) -> None:
        if call.deadline < now():
            raise DeadlinePassed("the deadline passed before the request was read")
        served, checked = self._service.accept(call.payload)
        call.payload = b""  # the checked request has its bytes
        pending = ParsedCall(call, served, checked, arrived)
        pending.watch()
        self._schedulers.submit(served.model, pending)
