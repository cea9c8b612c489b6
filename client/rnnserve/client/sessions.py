"""Sessions: sequences that are sent step by step, for both clients."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from rnnserve.client.metadata import ModelMetadata
from rnnserve.client.predictions import Prediction
from rnnserve.client.remote_calls import OperationSteps
from rnnserve.client.row_inputs import InputsLike
from rnnserve.client.session_operations import SessionOperations, StateForm

__all__ = ["AsyncSession", "Session"]

Answer = TypeVar("Answer", Prediction, list[Prediction])


class _SessionBase(Generic[Answer]):
    """What both kinds of session share; `run` runs an operation within seconds, None for the client's default."""

    def __init__(
        self, run: Callable[..., Any], operations: SessionOperations, *, is_single: bool, timeout: float | None
    ) -> None:
        self._run = run
        self._operations = operations
        self._is_single = is_single
        self._timeout = timeout

    @property
    def model(self) -> str:
        """The model's name."""
        return self._operations.model

    @property
    def steps(self) -> int:
        """Steps that were answered since the session began: points of a row, of the longest if rows differ."""
        return self._operations.steps

    @property
    def state(self) -> StateForm | None:
        """How the state travels, "carried" or "sealed", or "server" if the server keeps it.

        None before the first step of a session that was not entered.
        """
        return self._operations.state

    @property
    def metadata(self) -> ModelMetadata | None:
        """The model's metadata, or None before the first step of a session that was not entered."""
        return self._operations.metadata

    def reset(self) -> None:
        """Begin anew, with the states of the beginning; the server may choose a newer version.

        Raises:
            RuntimeError: A step is in progress, or the session has been left.
        """
        self._operations.reset()

    def _step(self, point: InputsLike) -> OperationSteps[Answer]:
        predictions: Any = yield from self._operations.step(point)
        answer: Answer = predictions[0] if self._is_single else predictions
        return answer

    def _seconds(self, timeout: float | None) -> float | None:
        return self._timeout if timeout is None else timeout


class Session(_SessionBase[Answer]):
    """A sequence that is sent step by step; `Client.session` makes it.

    The state is sent with each step, so that it lives where the client lives. A step whose server is lost (UNAVAILABLE,
    or CANCELLED by a server that stops) is sent again within the step's timeout, to the same address or to the next one
    of several, with pauses that grow to one second. It gets the same answer, bit for bit. Any other error is raised;
    the session is then as it was before the step, and the step may be made again.
    """

    def __enter__(self) -> Self:
        with self._operations.stepping():
            self._run(self._operations.open(), self._timeout)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._operations.close()

    def step(self, point: InputsLike, *, timeout: float | None = None) -> Answer:
        """Send one step, or several, and return the outputs.

        Args:
            point: One point (features,), or several (steps, features) if the model has a sequence axis, in the model's
                own axes without the batch; a number for token ids. A model that requires several inputs takes a dict of
                these by name. In a session of several rows, a list with such an entry for each row.
            timeout: Seconds for all attempts together; None for the session's.

        Returns:
            The outputs by name: of one point without the sequence axis, `output` (directions * hidden,) for example; of
            several with it, `output` (steps, directions * hidden). A list with one for each row in a session of several
            rows.

        Raises:
            InvalidRequest: The point does not match the model, or the server refuses it.
            FailedPrecondition: The session has ended: its sealed state is too old, or its version no longer serves.
            Unavailable: No server answered within the timeout.
            DeadlineExceeded: No answer arrived within the timeout.
            ClientError: The server answered with another error.
            RuntimeError: A step of another thread is in progress, or the session has been left.
        """
        with self._operations.stepping():
            answer: Answer = self._run(self._step(point), self._seconds(timeout))
        return answer


class AsyncSession(_SessionBase[Answer]):
    """A sequence that is sent step by step, for asyncio; `AsyncClient.session` makes it. See `Session`.

    A step that is cancelled leaves the session as it was before.
    """

    async def __aenter__(self) -> Self:
        with self._operations.stepping():
            await self._run(self._operations.open(), self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._operations.close()

    async def step(self, point: InputsLike, *, timeout: float | None = None) -> Answer:
        """Send one step, or several, and return the outputs: see `Session.step`."""
        with self._operations.stepping():
            answer: Answer = await self._run(self._step(point), self._seconds(timeout))
        return answer
