"""Sessions: sequences sent step by step, for both clients."""

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
    """Base of both session classes. `run` runs an operation with a timeout in seconds, or None for the default."""

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
        """Steps completed since the session began. If rows differ in their number of points, the longest row counts."""
        return self._operations.steps

    @property
    def state(self) -> StateForm | None:
        """How the state is kept: "carried" or "sealed" if it travels with requests, "server" if the server keeps it.

        None before the first step of a session that you use without a `with` block.
        """
        return self._operations.state

    @property
    def metadata(self) -> ModelMetadata | None:
        """The model's metadata. None before the first step of a session that you use without a `with` block."""
        return self._operations.metadata

    def reset(self) -> None:
        """Start over with the initial states. The server may choose a newer version of the model.

        Raises:
            RuntimeError: A step is in progress, or the session has been closed.
        """
        self._operations.reset()

    def _step(self, point: InputsLike) -> OperationSteps[Answer]:
        predictions: Any = yield from self._operations.step(point)
        answer: Answer = predictions[0] if self._is_single else predictions
        return answer

    def _seconds(self, timeout: float | None) -> float | None:
        return self._timeout if timeout is None else timeout


class Session(_SessionBase[Answer]):
    """A sequence sent step by step, made by `Client.session`.

    The client sends the state with each step, so the session doesn't depend on one server. If a server is lost during a
    step (it responds UNAVAILABLE, or CANCELLED because it is shutting down), the client sends the step again, to the
    same address or the next of several. It retries until the step's timeout, with pauses that grow to one second, and
    the result is the same, bit for bit. Any other error is raised. After an error the session is as before the step,
    so you can send the step again.
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
            point: One point (features,), or several (steps, features) if the model has a sequence axis. The axes are
                the model's own, without the batch axis. A token id is a plain number. If the model requires several
                inputs, pass a dict of them by name. In a session with several rows, pass a list with one such entry for
                each row.
            timeout: Seconds for all attempts together, or None for the session's timeout.

        Returns:
            The outputs by name. For one point they have no sequence axis: `output` (directions * hidden,) for example.
            For several points they have it: `output` (steps, directions * hidden). In a session with several rows, a
            list with one such dict for each row.

        Raises:
            InvalidRequest: The point does not match the model, or the server refuses it.
            FailedPrecondition: The session has ended: its sealed state is too old, or its version no longer serves.
            Unavailable: No server responded within the timeout.
            DeadlineExceeded: No response arrived within the timeout.
            ClientError: The server responded with another error.
            RuntimeError: Another thread's step is in progress, or the session has been closed.
        """
        with self._operations.stepping():
            answer: Answer = self._run(self._step(point), self._seconds(timeout))
        return answer


class AsyncSession(_SessionBase[Answer]):
    """A sequence sent step by step with asyncio, made by `AsyncClient.session`. See `Session`.

    A cancelled step leaves the session unchanged.
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
        """Send one step, or several, and return the outputs. See `Session.step`."""
        with self._operations.stepping():
            answer: Answer = await self._run(self._step(point), self._seconds(timeout))
        return answer
