"""Large requests: parsed and checked on a thread of their own, one after another, and run on their model's thread."""

import threading
from collections import Counter, deque

from rnnserve.server.batching.pending import check_unread
from rnnserve.server.batching.schedulers import Schedulers
from rnnserve.server.clock import now
from rnnserve.server.errors import InternalError, ServeError, TooManyCalls
from rnnserve.server.fast_path.calls import ArrivedRequest
from rnnserve.server.fast_path.pending import ParsedCall, PendingCall, StepCall
from rnnserve.server.fast_path.varying_fields import HEAD_BYTES
from rnnserve.server.protocol.service import Service
from rnnserve.server.repository.model import Model
from rnnserve.server.validation.parsing import decompress, is_compressed

__all__ = ["LargeRequests"]

_WAITING, _WAITING_OF_CONNECTION = 256, 64
"""Large or compressed requests that wait to be parsed, of all connections and of one. The bytes that calls may hold
bound them, too, except for compressed ones, which take up to 50 ms each. Beyond it: RESOURCE_EXHAUSTED at once."""


class LargeRequests:
    """Takes calls from the fast path: large ones, and compressed ones that become large."""

    def __init__(self, service: Service, schedulers: Schedulers) -> None:
        """Start the thread.

        Args:
            service: The service, which takes requests through the boundary.
            schedulers: The models' threads, which run them.
        """
        self._service = service
        self._schedulers = schedulers
        self._waiting: deque[tuple[ArrivedRequest, float]] = deque()
        self._counts: Counter[str] = Counter()  # of those, by connection
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._loop, name="large requests", daemon=True)
        self._thread.start()

    def submit(self, call: ArrivedRequest) -> None:
        """Take a call that has just arrived; it is answered later, from another thread.

        Raises:
            TooManyCalls: If as many wait as may.
        """
        connection = call.peer()
        with self._changed:
            if len(self._waiting) >= _WAITING:
                raise TooManyCalls("large requests", _WAITING)
            if self._counts[connection] >= _WAITING_OF_CONNECTION:
                raise TooManyCalls("large requests of this connection", _WAITING_OF_CONNECTION)
            self._waiting.append((call, now()))
            self._counts[connection] += 1
            self._changed.notify()

    def close(self, timeout: float | None = None) -> bool:
        """Take what waits, and end the thread. To be called when no more calls arrive.

        Args:
            timeout: Seconds that this may take.

        Returns:
            Whether the thread has ended.
        """
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        while (taken := self._next()) is not None:
            call, arrived = taken
            try:
                self._admit(call, arrived)
            except ServeError as error:
                call.refuse(error)
            except Exception as error:  # noqa: BLE001 - one request's defect must not cost the others' answers
                call.refuse(InternalError.hiding(error))
            del call, taken  # it may hold 16 MB until the next one comes

    def _next(self) -> tuple[ArrivedRequest, float] | None:
        with self._changed:
            while not (self._waiting or self._is_closed):
                self._changed.wait()
            if not self._waiting:
                return None
            taken = self._waiting.popleft()
            self._counts[taken[0].peer()] -= 1
            if not self._waiting:
                self._counts.clear()
            return taken

    def _admit(self, call: ArrivedRequest, arrived: float) -> None:
        check_unread(call.deadline, now())
        payload = call.payload
        if is_compressed(payload):
            payload = decompress(payload, self._service.settings.max_message_bytes)
            call.hold(len(payload))
        served, checked = self._service.accept(payload, call)
        call.payload, payload = payload[:HEAD_BYTES], b""  # its id is needed; the checked request has the other bytes
        parsed = ParsedCall(call, served, checked, arrived)
        pending: PendingCall | None = parsed
        if checked.sequence is not None:
            try:
                pending = StepCall(parsed, None, self._submit).enter(self._service.sequences, checked.sequence)
            except ServeError as error:
                raise error.of(served.model.statistics.counts)  # noqa: B904 - the same error
        if pending is not None:
            self._submit(pending.served.model, pending)

    def _submit(self, model: Model, pending: PendingCall) -> None:
        pending.watch()
        self._schedulers.submit_or_refuse(model, pending)
