"""A request that waits as a step of its sequence: its one way in, and the one wrapper of it, on every transport."""

from collections.abc import Callable, Mapping
from typing import Any, Self

from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.boundary.checked_request import Array, CheckedRequest, SequenceControl
from rnnserve.server.counting.table import after_run
from rnnserve.server.errors import InternalError, ServeError
from rnnserve.server.observing.origins import Origin
from rnnserve.server.protocol.sequence_callers import Caller, StreamOwner
from rnnserve.server.protocol.sequence_turns import Step
from rnnserve.server.protocol.sequences import Sequences
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.repository import ServedVersion

__all__ = ["PendingStep"]


class PendingStep(PendingRequest):
    """Waits in the place of another request, which is one of a sequence.

    It refers to its step, and its step not to it: so it leaves no cycle. A transport's own class has the attributes as
    slots, since a class with some cannot be joined to another one with some.

    Attributes:
        step: What it is in its sequence; from `enter` on.
    """

    __slots__ = ()

    step: Step
    _pending: PendingRequest  # the request without its sequence
    _submit: Callable[[Model, Any], None]  # takes it when its turn comes later

    def enter(
        self,
        sequences: Sequences,
        served: ServedVersion,
        control: SequenceControl,
        caller: Caller,
        owner: StreamOwner | None,
    ) -> Self | None:
        """Take the request into its sequence, where it lines up behind those that arrived before it.

        Args:
            sequences: Sequences of the server.
            served: The version that it asks.
            control: The request's words about its sequence.
            caller: The caller that sends it.
            owner: The stream that it came on.

        Returns:
            Itself where it has its turn, and may be submitted now. None where that comes later, on the thread that
            answers the request before it, or where it had to be refused.

        Raises:
            ServeError: If it has no part in a sequence (`Sequences.enter`); then it has not been answered.
        """
        step = sequences.enter(served, control, caller, owner)
        self.step = step  # type: ignore[misc]  # a slot of each transport's class
        try:
            return self if step.line_up(self) else None
        except Exception as error:  # noqa: BLE001 - a defect must neither keep the caller waiting nor hold up the sequence
            self.refuse(error if isinstance(error, ServeError) else InternalError.hiding(error))
            return None

    def take_turn(self) -> None:
        """Be submitted, now that the requests before it have been answered."""
        self._submit(self.step.served.model, self)

    def check(self) -> CheckedRequest:
        """Give the checked request with its sequence's states.

        Raises:
            ServeError: If the request does not pass the boundary, or does not continue its sequence.
        """
        return self.step.with_states(self._pending.check())

    def answer(self, outputs: Mapping[str, Array]) -> None:
        """Keep the states, and answer with the outputs asked for."""
        try:
            asked = self.step.finish(outputs)
        except ServeError as error:
            self.refuse(after_run(error))
        else:
            self._pending.answer(asked)

    def origin(self) -> Origin:
        """Say where it comes from; before it is answered."""
        return self._pending.origin()

    def refuse(self, error: ServeError) -> None:
        """Leave the sequence as it was, and answer with an error."""
        try:
            self._pending.refuse(error)
        finally:
            self.step.fail()
