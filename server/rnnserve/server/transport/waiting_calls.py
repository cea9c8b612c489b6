"""Requests on the public transport that wait to be run, and the threads of their callers with them."""

import threading
from collections.abc import Callable, Mapping

from rnnserve.server.batching.lateness import cancelled, earlier
from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.clock import now
from rnnserve.server.connections.byte_budget import RESPONSE_COPIES, HeldBytes
from rnnserve.server.counting.table import after_run
from rnnserve.server.errors import ServeError
from rnnserve.server.observing.origins import Asked, Origin
from rnnserve.server.protocol.pending_steps import PendingStep
from rnnserve.server.repository.model import Model

__all__ = ["WaitingCall", "WaitingStep"]

_NO_ANSWER: Mapping[str, Array] = {}


class WaitingCall(PendingRequest):
    """A request whose caller's thread waits for it.

    Attributes:
        is_answered: Whether there is no need to wait any more.
    """

    __slots__ = ("_answer", "_asked", "_checked", "_has_room", "_held", "_is_told", "is_answered")

    def __init__(self, checked: CheckedRequest, deadline: float, held: HeldBytes, asked: Asked) -> None:
        """Wait.

        Args:
            checked: The request.
            deadline: Deadline of its caller, in seconds on the clock of `clock`.
            held: Bytes of the budget that the call holds.
            asked: Source of its origin.
        """
        arrived = now()
        deadline, timeout = earlier(deadline, arrived, checked.timeout)
        super().__init__(checked.batch, checked.steps, deadline, arrived, timeout)
        self._checked: CheckedRequest | None = checked
        self._held = held
        self._asked = asked
        self._has_room = False
        self._answer: Mapping[str, Array] | ServeError = _NO_ANSWER
        self.is_answered = False
        self._is_told = threading.Lock()
        self._is_told.acquire()  # released with the answer

    @property
    def connection(self) -> str:
        """Names its connection."""
        return self._held.connection

    def cancel(self) -> None:
        """Note that the caller has cancelled, and keep nothing of the request: it may wait for long, with 16 MB."""
        super().cancel()
        self._checked = None

    def origin(self) -> Origin:
        """Say where it comes from."""
        return self._asked.origin()

    def check(self) -> CheckedRequest:
        """Give the checked request: for its run, and for its answer.

        Raises:
            Cancelled: If its caller has cancelled.
        """
        checked = self._checked
        if checked is None:
            raise cancelled("answered")
        return checked

    def make_room(self, outputs: Mapping[str, Array]) -> None:
        """Hold the outputs' bytes: the threads that encode them come when further runs may have made as many again.

        Raises:
            TooMuchHeld: If the budget is spent.
        """
        self._held.hold(RESPONSE_COPIES * sum([array.nbytes for array in outputs.values()]))
        self._has_room = True

    def answer(self, outputs: Mapping[str, Array]) -> None:
        """Hand the outputs to the thread that waits, unless they are more than may be held."""
        try:
            if not self._has_room:
                self.make_room(outputs)
        except ServeError as error:
            self.refuse(after_run(error))
        else:
            self._tell(outputs)

    def refuse(self, error: ServeError) -> None:
        """Raise the error on the thread that waits: without the traceback, whose frames have this request."""
        error.__traceback__ = error.__context__ = None
        self._tell(error.of_request(self.rows, self.arrived))

    def wait(self) -> Mapping[str, Array]:
        """Wait for the outputs. They are given once: the call refers to this request until the response has been sent.

        Raises:
            ServeError: If the request was refused.
        """
        self._is_told.acquire()
        answer, self._answer = self._answer, _NO_ANSWER
        if isinstance(answer, ServeError):
            try:
                raise answer
            finally:
                del answer  # its traceback has this frame: the frame must not have it, nor what the traceback holds
        return answer

    def _tell(self, answer: Mapping[str, Array] | ServeError) -> None:
        if self.is_answered:
            return  # after a failure in the middle of a batch, all of the batch may be refused
        self.is_answered = True
        self._answer = answer
        self._is_told.release()


class WaitingStep(PendingStep):
    """A request of a sequence whose caller's thread waits for it."""

    __slots__ = ("_pending", "_submit", "step")

    _pending: WaitingCall

    def __init__(self, call: WaitingCall, submit: Callable[[Model, "WaitingStep"], None]) -> None:
        """Wait in the place of `call`.

        Args:
            call: The request without its sequence.
            submit: A function that takes it when its turn comes later.
        """
        super().__init__(call.rows, call.steps, call.deadline, call.arrived, call.timeout)
        self._pending = call
        self._submit = submit

    @property
    def connection(self) -> str:
        """Names its connection."""
        return self._pending.connection

    def cancel(self) -> None:
        """Note that the caller has cancelled, and keep nothing of the request."""
        super().cancel()
        self._pending.cancel()

    def answer(self, outputs: Mapping[str, Array]) -> None:
        """Keep the states, and answer; where the outputs are more than may be held, the sequence stays as it was."""
        try:
            self._pending.make_room(outputs)
        except ServeError as error:
            self.refuse(after_run(error))
        else:
            super().answer(outputs)
