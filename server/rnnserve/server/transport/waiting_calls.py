"""Requests on the public transport that wait to be run, and the threads of their callers with them."""

import threading
from collections.abc import Mapping

from rnnserve.server.batching.lateness import cancelled, earlier
from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.batching.scheduler import Schedulers
from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.clock import now
from rnnserve.server.connections.byte_budget import RESPONSE_COPIES, HeldBytes
from rnnserve.server.errors import ServeError
from rnnserve.server.protocol.sequence_turns import Step

__all__ = ["WaitingCall", "WaitingStep"]

_NO_ANSWER: Mapping[str, Array] = {}


class WaitingCall(PendingRequest):
    """A request whose caller's thread waits for it."""

    __slots__ = ("_answer", "_checked", "_held", "_is_answered", "_is_told")

    def __init__(self, checked: CheckedRequest, deadline: float, held: HeldBytes) -> None:
        arrived = now()
        deadline, timeout = earlier(deadline, arrived, checked.timeout)
        super().__init__(checked.batch, checked.steps, deadline, arrived, timeout)
        self._checked: CheckedRequest | None = checked
        self._held = held
        self._answer: Mapping[str, Array] | ServeError = _NO_ANSWER
        self._is_told = False
        self._is_answered = threading.Lock()
        self._is_answered.acquire()  # released with the answer

    @property
    def connection(self) -> str:
        """Names its connection."""
        return self._held.connection

    def cancel(self) -> None:
        """Note that the caller has cancelled, and keep nothing of the request: it may wait for long, with 16 MB."""
        super().cancel()
        self._checked = None

    @property
    def request(self) -> CheckedRequest:
        """The checked request, as it came.

        Raises:
            Cancelled: If its caller has cancelled.
        """
        checked = self._checked
        if checked is None:
            raise cancelled("answered")
        return checked

    def check(self) -> CheckedRequest:
        """Give the checked request."""
        return self.request

    def answer(self, outputs: Mapping[str, Array]) -> None:
        """Hand the outputs to the thread that waits, unless they are more than may be held.

        They are counted here: the threads that encode them come later, when further runs may have made as many again.
        """
        try:
            self._held.hold(RESPONSE_COPIES * sum([array.nbytes for array in outputs.values()]))
            asked = self._finish(outputs)
        except ServeError as error:
            self.refuse(error)
        else:
            self._tell(asked)

    def _finish(self, outputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Give the outputs that were asked for."""
        return outputs

    def refuse(self, error: ServeError) -> None:
        """Raise the error on the thread that waits: without the traceback, whose frames have this request."""
        error.__traceback__ = error.__context__ = None
        self._tell(error)

    def wait(self) -> Mapping[str, Array]:
        """Wait for the outputs. They are given once: the call knows this request until the response has been sent.

        Raises:
            ServeError: If the request was refused.
        """
        self._is_answered.acquire()
        answer, self._answer = self._answer, _NO_ANSWER
        if isinstance(answer, ServeError):
            try:
                raise answer
            finally:
                del answer  # its traceback has this frame: the frame must not have it, nor what the traceback holds
        return answer

    def _tell(self, answer: Mapping[str, Array] | ServeError) -> None:
        if self._is_told:
            return  # after a failure in the middle of a batch, all of the batch may be refused
        self._is_told = True
        self._answer = answer
        self._is_answered.release()


class WaitingStep(WaitingCall):
    """A request of a sequence whose caller's thread waits for it. It refers to its step, and its step not to it."""

    may_be_displaced = False  # those that wait for their turn behind it would be run without it

    __slots__ = ("_schedulers", "_step")

    def __init__(
        self, checked: CheckedRequest, deadline: float, held: HeldBytes, step: Step, schedulers: Schedulers
    ) -> None:
        super().__init__(checked, deadline, held)
        self._step = step
        self._schedulers = schedulers

    def line_up(self) -> None:
        """Line up in its sequence, and be submitted when its turn comes.

        Raises:
            ServeError: If it cannot.
        """
        if self._step.line_up(self):
            self.take_turn()

    def take_turn(self) -> None:
        """Be submitted to the thread of its model."""
        try:
            self._schedulers.submit(self._step.served.model, self)
        except ServeError as error:
            self.refuse(error)

    def check(self) -> CheckedRequest:
        """Give the checked request with its sequence's states.

        Raises:
            ServeError: If it does not continue its sequence.
        """
        return self._step.with_states(super().check())

    def _finish(self, outputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Keep the states, and give the outputs that were asked for."""
        return self._step.finish(outputs)

    def refuse(self, error: ServeError) -> None:
        """Leave the sequence as it was, and raise the error on the thread that waits."""
        try:
            super().refuse(error)
        finally:
            self._step.fail()
