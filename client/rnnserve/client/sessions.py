"""Sessions: sequences sent step by step, for both clients.

A session's state travels with its requests. Either the client sends the final states back as the initial states (`h_n`
as `h_0`), or the server seals them in one encrypted token. So the server keeps nothing. If a server is lost during a
step, the client sends the step to another server. The result is the same, whether or not the lost server had computed
it.

Inferred states aren't part of the model's interface, so the client can't carry them. A server without a key keeps them.
"""

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar

import grpc
import numpy as np

from rnnserve.client.errors import ClientError, FailedPrecondition, InvalidAnswer, InvalidRequest, Unimplemented
from rnnserve.client.metadata import ModelMetadata
from rnnserve.client.operations import ClientOperations, PriorStates, add_states, check_model, check_outputs, send
from rnnserve.client.predictions import Prediction
from rnnserve.client.remote_calls import OperationSteps
from rnnserve.client.row_inputs import InputsLike, RowInputs, check_rows, describe_row, main_input
from rnnserve.client.tensors import Array, as_array
from rnnserve.protos.inference_pb2 import ModelInferRequest, ModelInferResponse
from rnnserve.protos.protocol_words import SEALED_SESSIONS, SEQUENCE_ID, SEQUENCE_START, SESSION, SESSION_BEGIN

__all__ = ["AsyncSession", "Session", "StateForm", "require_sessions", "sequence_axis"]

Answer = TypeVar("Answer", Prediction, list[Prediction])

StateForm = Literal["carried", "sealed", "server"]
"""How a session's state travels: as the model's own tensors, as one token that only servers can read, or not at all if
the server keeps it."""

_REFUSED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.FAILED_PRECONDITION,
}
"""Statuses after which a sequence in the server is as it was before the request."""

_Answers = list[tuple[Prediction, ModelMetadata]]


@dataclass
class _KeptSequence:
    """A sequence whose states the server keeps. A request is sent only once, because the server might count it twice.

    `is_lost` is true if the server may or may not have counted a request whose response did not arrive.
    """

    identity: int = field(default_factory=lambda: secrets.randbits(63) | 1)
    has_begun: bool = False
    is_lost: bool = False


class _SessionBase(Generic[Answer]):
    """The core of both kinds of sessions: a step as a generator of calls, and the state for the next one.

    `run` runs an operation with a timeout in seconds, or None for the client's default. The other arguments are as for
    `Client.session`.
    """

    def __init__(
        self,
        run: Callable[..., Any],
        operations: ClientOperations,
        model: str,
        outputs: Sequence[str],
        rows: int | None,
        state: StateForm | None,
        continue_from: Mapping[str, Array] | PriorStates | None,
        version: str,
        timeout: float | None,
    ) -> None:
        check_model(model)
        initial = [continue_from] if isinstance(continue_from, Mapping) else continue_from
        if rows is not None and rows < 1:
            raise InvalidRequest(f"rows must be a positive integer, or None for a single sequence; got {rows}")
        if state not in (None, "carried", "sealed", "server"):
            raise InvalidRequest(f'state must be "carried", "sealed", "server" or None; got {state!r}')
        if state == "server" and initial is not None:
            raise InvalidRequest('a session with state="server" begins with the model\'s states: omit continue_from')
        if initial is not None and len(initial) != (rows or 1):
            raise InvalidRequest(f"continue_from has {len(initial)} rows, but the session has {rows or 1}")
        self.model = model
        self.steps = 0
        self.state = state
        self.metadata: ModelMetadata | None = None
        self._run = run
        self._operations = operations
        self._timeout = timeout
        self._requested, self._outputs = outputs, list[str]()
        self._rows = rows
        self._first_version = self._version = version
        self._initial = initial
        self._kept: PriorStates | str | _KeptSequence | None = initial
        self._busy = threading.Lock()
        self._closed = False

    def reset(self) -> None:
        """Start over with the initial states. The server may choose a newer version of the model.

        Raises:
            RuntimeError: A step is in progress, or the session has been closed.
        """
        with self._stepping():
            self.steps = 0
            self._kept = self._initial
            self._version = self._first_version

    @contextlib.contextmanager
    def _stepping(self) -> Iterator[None]:
        """Allow one step at a time. Raises RuntimeError if another step is in progress or the session is closed."""
        if self._closed:
            raise RuntimeError(f"this session of {self.model} is closed; begin a new one")
        if not self._busy.acquire(blocking=False):
            raise RuntimeError(f"another step of this session of {self.model} is in progress; wait for its result")
        try:
            yield
        finally:
            self._busy.release()

    def _open(self) -> OperationSteps[ModelMetadata]:
        """Request the model's metadata and the server's extensions, unless they are known."""
        if self.metadata is None:
            metadata = yield from self._operations.metadata(self.model, self._version)
            require_sessions(metadata)
            inferred = metadata.found_states
            if inferred and (self.state == "carried" or self._initial is not None):
                raise InvalidRequest(
                    f"the states {', '.join(inferred)} of model {metadata.name} are not outputs, so the client cannot "
                    'carry them; omit state="carried" and continue_from, or declare the states with publish(states=…)'
                )
            others = [name for name, tensor in metadata.outputs.items() if not tensor.continues_as]
            self._outputs = check_outputs(metadata, self._requested or others)
            if self.state in (None, "sealed"):
                is_offered = SEALED_SESSIONS in (yield from self._operations.server_extensions())
                if self.state == "sealed" and not is_offered:
                    raise Unimplemented('the server has no session key to seal states with; use state="carried"')
                self.state = "sealed" if is_offered else "server" if inferred else "carried"
            self.metadata = metadata
        return self.metadata

    def _step(self, point: InputsLike) -> OperationSteps[Answer]:
        metadata = yield from self._open()
        given: dict[str, Any] = dict(point) if isinstance(point, Mapping) else {main_input(metadata).name: point}
        sent = next((name for name in given if name in metadata.states), None)
        if sent is not None:
            raise InvalidRequest(f"{sent} is a state, which the session sends; pass a first state as continue_from")
        points = _Points(metadata, given, self._rows)
        kept = self._kept
        inputs: dict[str, Any] = points.rows
        if kept is not None and not isinstance(kept, str | _KeptSequence):
            inputs = add_states(metadata, inputs, kept)
        rows = check_rows(metadata, inputs)
        if self.state == "carried":
            answers, self._kept = yield from self._ask_carried(metadata, rows)
        elif len(list(self._operations.group(metadata, rows, self._outputs))) > 1:
            raise InvalidRequest(
                "the rows of this step do not fit into one request; make their sizes equal, raise the client's "
                'max_rows and max_request_bytes, or use state="carried"'
            )
        elif self.state == "sealed":
            token = kept if isinstance(kept, str) else SESSION_BEGIN
            answers, self._kept = yield from self._ask_sealed(metadata, rows, token)
        else:
            sequence = self._kept = kept if isinstance(kept, _KeptSequence) else _KeptSequence()
            answers = yield from self._ask_kept(metadata, rows, sequence)
        self.metadata = answers[0][1]
        self.steps += max(
            ends.get(points.axis, size.get(points.axis, 1)) for ends, size in zip(rows.ends, rows.sizes, strict=True)
        )
        predictions: Any = [points.result(row, self._outputs) for row, _ in answers]
        answer: Answer = predictions[0] if self._rows is None else predictions
        return answer

    def _ask_carried(self, metadata: ModelMetadata, rows: RowInputs) -> OperationSteps[tuple[_Answers, PriorStates]]:
        """Request the outputs and the final states. Returns the answers, and the states for the next step."""
        finals: list[str] = list(metadata.states.values())
        requested = list(dict.fromkeys([*self._outputs, *finals]))
        answers = yield from self._operations.ask(self.model, self._version, metadata, rows, requested, _send_again)
        # Stay with this version, because another version can't use its states.
        self._version = answers[0][0].model_version or self._version
        return answers, [{name: prediction[name] for name in finals} for prediction, _ in answers]

    def _ask_sealed(self, metadata: ModelMetadata, rows: RowInputs, token: str) -> OperationSteps[tuple[_Answers, str]]:
        """Send one request with the token. Returns the answers and the next token."""
        sealed = ""

        def send_sealed(request: ModelInferRequest) -> OperationSteps[ModelInferResponse]:
            nonlocal sealed
            request.parameters[SESSION].string_param = token
            response = yield from _send_again(request)
            sealed = response.parameters[SESSION].string_param
            return response

        asked = self._operations.ask(self.model, self._first_version, metadata, rows, self._outputs, send_sealed)
        answers = yield from asked
        if not sealed:
            raise InvalidAnswer("the response has no token with the session's states")
        return answers, sealed

    def _ask_kept(self, metadata: ModelMetadata, rows: RowInputs, sequence: _KeptSequence) -> OperationSteps[_Answers]:
        """Send one request as the next one of a sequence in the server."""
        if sequence.is_lost:
            raise FailedPrecondition(
                "the session is over: a response was lost, so it is unknown which steps the server has processed. Call "
                "reset() to start over. Servers with a key for sealed sessions (--session-key) avoid such losses"
            )

        def send_kept(request: ModelInferRequest) -> OperationSteps[ModelInferResponse]:
            request.parameters[SEQUENCE_ID].int64_param = sequence.identity
            if not sequence.has_begun:
                request.parameters[SEQUENCE_START].bool_param = True
            return send("ModelInfer", request, ModelInferResponse, sequence=sequence.identity)

        sequence.is_lost = True  # until the end, because a cancelled step may or may not have counted
        try:
            asked = self._operations.ask(self.model, self._first_version, metadata, rows, self._outputs, send_kept)
            answers = yield from asked
        except ClientError as error:
            sequence.is_lost = error.status not in _REFUSED
            if sequence.is_lost:
                error.add_note(f"the session's states after {self.steps:,} steps are lost; call reset() to start over")
            raise
        sequence.is_lost, sequence.has_begun = False, True
        return answers


class Session(_SessionBase[Answer]):
    """A sequence sent step by step, made by `Client.session`.

    The client sends the state with each step, so the session doesn't depend on one server. If a server is lost during a
    step (it responds UNAVAILABLE, or CANCELLED because it is shutting down), the client sends the step again, to the
    same address or the next of several. It retries until the step's timeout, with pauses that grow to one second, and
    the result is the same, bit for bit. Any other error is raised. After an error the session is as before the step,
    so you can send the step again.

    Attributes:
        model: The model's name.
        steps: Steps completed since the session began. If rows differ in their number of points, the longest row
            counts.
        state: "carried" or "sealed" if the state travels with requests, "server" if the server keeps it. None before
            the first step of a session that you use without a `with` block.
        metadata: The model's metadata. None as for `state`.
    """

    def __enter__(self) -> Self:
        with self._stepping():
            self._run(self._open(), self._timeout)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True

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
        with self._stepping():
            answer: Answer = self._run(self._step(point), self._timeout if timeout is None else timeout)
        return answer


class AsyncSession(_SessionBase[Answer]):
    """A sequence sent step by step with asyncio, made by `AsyncClient.session`. See `Session`.

    A cancelled step leaves the session unchanged.
    """

    async def __aenter__(self) -> Self:
        with self._stepping():
            await self._run(self._open(), self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True

    async def step(self, point: InputsLike, *, timeout: float | None = None) -> Answer:
        """Send one step, or several, and return the outputs. See `Session.step`."""
        with self._stepping():
            answer: Answer = await self._run(self._step(point), self._timeout if timeout is None else timeout)
        return answer


def require_sessions(metadata: ModelMetadata) -> None:
    """Raise InvalidRequest, with the reason, if a model's sequences can't be sent step by step."""
    reason = metadata.properties.get("sequences", "")
    because = f": {reason}" if reason not in ("", "kept") else ""
    if not (metadata.states or metadata.found_states):
        raise InvalidRequest(
            f"model {metadata.name} has no states, so it has no sessions{because}; send whole sequences with predict()"
        )
    if not metadata.found_states and metadata.properties.get("continuable") == "false":
        raise InvalidRequest(
            f"model {metadata.name} has no sessions, because its sequences cannot be split{because}; send whole "
            "sequences with predict()"
        )
    sequence_axis(metadata)


def sequence_axis(metadata: ModelMetadata) -> str:
    """Return the name of a model's sequence axis, or empty for a model of single steps."""
    axes = dict.fromkeys(
        axis
        for name, tensor in metadata.inputs.items()
        if name not in metadata.states and not tensor.lengths_of
        for axis, size in tensor.row_axes
        if size < 0
    )
    if len(axes) > 1:
        raise InvalidRequest(
            f"model {metadata.name} has no sessions, because it has several sequence axes ({', '.join(axes)}); send "
            "whole sequences with predict()"
        )
    return next(iter(axes), "")


def _send_again(request: ModelInferRequest) -> OperationSteps[ModelInferResponse]:
    """Send a request, and retry it while time allows."""
    return send("ModelInfer", request, ModelInferResponse, repeats=True)


class _Points:
    """The points of one step: one or several for each row.

    Attributes:
        axis: The model's sequence axis, or empty for a model of single steps.
        rows: The rows of each input, with all axes that the model takes.
    """

    def __init__(self, metadata: ModelMetadata, given: Mapping[str, Any], rows: int | None) -> None:
        """Read the caller's points by input. `rows` is None if a single row was passed without a list."""
        self._metadata = metadata
        self._are_points = True
        self.axis = sequence_axis(metadata)
        self.rows = {name: self._with_axis(name, _rows_of(value, rows, name)) for name, value in given.items()}

    def result(self, row: Prediction, names: Sequence[str]) -> Prediction:
        """Return the named outputs of a row, without the sequence axis for one point, with it for several."""
        return Prediction({name: self._point(name, row[name]) for name in names}, row.model_version)

    def _with_axis(self, name: str, arrays: list[Any]) -> list[Any]:
        """Add the sequence axis, of size 1, to points of an input."""
        tensor = self._metadata.inputs.get(name)
        names = [axis for axis, _ in tensor.row_axes] if tensor is not None else []
        given = [as_array(array, name) for array in arrays]
        if self.axis not in names:
            if tensor is not None and not self.axis and any(array.ndim > len(names) for array in given):
                raise InvalidRequest(
                    f"{name} has shape {given[0].shape}, but model {self._metadata.name} takes one step at a time, "
                    f"{describe_row(tensor)}; call step() once for each"
                )
            return arrays  # an unknown input is refused later
        at = names.index(self.axis)
        are_points = [array.ndim == len(names) - 1 for array in given]
        self._are_points &= all(are_points)
        return [
            np.expand_dims(array, at) if is_point else array for array, is_point in zip(given, are_points, strict=True)
        ]

    def _point(self, name: str, array: Array) -> Array:
        names = [axis for axis, _ in self._metadata.outputs[name].row_axes]
        return array.take(0, names.index(self.axis)) if self._are_points and self.axis in names else array


def _rows_of(value: Any, rows: int | None, name: str) -> list[Any]:  # noqa: ANN401 - whatever the caller passes
    if rows is None:
        return [value]
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InvalidRequest(f"{name} is of type {type(value).__name__}; expected a list with {rows} rows")
    listed = list(value)
    if len(listed) != rows:
        raise InvalidRequest(f"{name} has {len(listed)} rows, but the session has {rows}")
    return listed
