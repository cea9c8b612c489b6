"""The operations of sessions without I/O: the request for each step, and the state for the next one.

A session's state travels with its requests. Either the client sends the final states back as the initial states (`h_n`
as `h_0`), or the server seals them in one encrypted token. So the server keeps nothing. If a server is lost during a
step, the client sends the step to another server. The result is the same, whether or not the lost server had computed
it.

Inferred states aren't part of the model's interface, so the client can't carry them. A server without a key keeps them.
"""

import contextlib
import dataclasses
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

import grpc
import numpy as np
from google.protobuf.message import Message

from rnnserve.client.errors import ClientError, FailedPrecondition, InvalidAnswer, InvalidRequest, Unimplemented
from rnnserve.client.metadata import ModelMetadata
from rnnserve.client.operations import ClientOperations, add_states, check_model, check_outputs
from rnnserve.client.predictions import Prediction
from rnnserve.client.remote_calls import OperationSteps, Pause, Place, RemoteCall, answer_calls, repeat_calls
from rnnserve.client.row_inputs import InputsLike, RowInputs, check_rows, describe_row, main_input
from rnnserve.client.tensors import Array, as_array
from rnnserve.protos.inference_pb2 import ModelInferRequest, ModelInferResponse
from rnnserve.protos.protocol_words import SEALED_SESSIONS, SEQUENCE_ID, SEQUENCE_START, SESSION, SESSION_BEGIN

__all__ = ["SessionOperations", "StateForm", "require_sessions", "sequence_axis"]

T = TypeVar("T")

StateForm = Literal["carried", "sealed", "server"]
"""How a session's state travels: as the model's own tensors, as one token that only servers can read, or not at all if
the server keeps it."""

_Rows = Sequence[Mapping[str, Array] | None]
"""For each row an earlier result with the final states, or None for a row that begins with zeros."""

_REFUSED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.FAILED_PRECONDITION,
}
"""Statuses after which a sequence in the server is as it was before the request."""


class SessionOperations:
    """The operations of one session, and its state. The arguments are as for `Client.session`.

    `state` and `metadata` are None until they are known. `steps` counts the completed points of a row. If rows
    differ, the longest row counts.
    """

    def __init__(
        self,
        operations: ClientOperations,
        model: str,
        *,
        outputs: Sequence[str],
        rows: int | None,
        state: StateForm | None,
        continue_from: _Rows | None,
        version: str,
    ) -> None:
        check_model(model)
        if rows is not None and rows < 1:
            raise InvalidRequest(f"rows {rows}: expected 1 or more, or None for a single sequence")
        if state not in (None, "carried", "sealed", "server"):
            raise InvalidRequest(
                f'state {state!r}: expected "carried", "sealed", "server", or None for what the server offers'
            )
        if state == "server" and continue_from is not None:
            raise InvalidRequest('state "server" begins with the model\'s own states: leave out continue_from')
        if continue_from is not None and len(continue_from) != (rows or 1):
            raise InvalidRequest(f"continue_from has {len(continue_from)} rows; the session has {rows or 1}")
        self.model = model
        self.steps = 0
        self.state = state
        self.metadata: ModelMetadata | None = None
        self._operations = operations
        self._requested = outputs
        self._outputs: list[str] = []
        self._rows = rows
        self._initial = continue_from
        self._first_version = self._version = version
        self._kept: _Rows | str | _KeptSequence | None = continue_from
        self._busy = threading.Lock()
        self._closed = False

    def open(self) -> OperationSteps[ModelMetadata]:
        """Request the model's metadata and the server's extensions, unless they are known."""
        if self.metadata is None:
            metadata = yield from self._operations.metadata(self.model, self._version)
            require_sessions(metadata)
            inferred = metadata.found_states
            if inferred and (self.state == "carried" or self._initial is not None):
                raise InvalidRequest(
                    f"model {metadata.name} has states that are no part of its interface ({', '.join(inferred)}), so "
                    'they cannot be carried, nor continued from: leave out state="carried" and continue_from, or '
                    "declare them with states= of publish"
                )
            others = [name for name, tensor in metadata.outputs.items() if not tensor.continues_as]
            self._outputs = check_outputs(metadata, self._requested or others)
            if self.state in (None, "sealed"):
                is_offered = SEALED_SESSIONS in (yield from self._operations.server_extensions())
                if self.state == "sealed" and not is_offered:
                    raise Unimplemented(
                        'the server seals no states: it has no key for them. state="carried" needs none'
                    )
                self.state = "sealed" if is_offered else "server" if inferred else "carried"
            self.metadata = metadata
        return self.metadata

    def close(self) -> None:
        """Accept no more steps."""
        self._closed = True

    def reset(self) -> None:
        """Start over, with the initial states and a version of the server's choice."""
        with self.stepping():
            self.steps = 0
            self._kept = self._initial
            self._version = self._first_version

    @contextlib.contextmanager
    def stepping(self) -> Iterator[None]:
        """Allow one step at a time. Raises RuntimeError if another step is in progress or the session is closed."""
        if self._closed:
            raise RuntimeError(f"this session of {self.model} is closed: begin a new one")
        if not self._busy.acquire(blocking=False):
            raise RuntimeError(f"a step of this session of {self.model} is in progress: a session has one at a time")
        try:
            yield
        finally:
            self._busy.release()

    def step(self, point: InputsLike) -> OperationSteps[list[Prediction]]:
        """Send one step, or several, of each row. Returns each row's outputs."""
        metadata = yield from self.open()
        given: dict[str, Any] = dict(point) if isinstance(point, Mapping) else {main_input(metadata).name: point}
        sent = next((name for name in given if name in metadata.states), None)
        if sent is not None:
            raise InvalidRequest(f"{sent} is the session's own state: continue_from gives the one that it begins with")
        points = _Points(metadata, given, self._rows)
        kept = self._kept
        inputs: dict[str, Any] = dict(points.rows)
        if kept is not None and not isinstance(kept, str | _KeptSequence):
            inputs = add_states(metadata, inputs, kept)
        rows = check_rows(metadata, inputs)
        if self.state == "carried":
            answered, self._kept = yield from self._ask_carried(metadata, rows)
        else:
            answered, self._kept = yield from self._ask_once(metadata, rows, kept)
        self.steps += max(
            ends.get(points.axis, size.get(points.axis, 1)) for ends, size in zip(rows.ends, rows.sizes, strict=True)
        )
        return points.outputs(answered)

    def _ask_carried(self, metadata: ModelMetadata, rows: RowInputs) -> OperationSteps[tuple[list[Prediction], _Rows]]:
        """Request the outputs and the final states. Returns them separately."""
        finals = list(metadata.states.values())
        requested = [*self._outputs, *(name for name in finals if name not in self._outputs)]
        answers = yield from repeat_calls(self._operations.ask(self.model, self._version, metadata, rows, requested))
        # Stay with this version, because another version can't use its states.
        self.metadata, self._version = answers[0][1], answers[0][0].model_version or self._version
        outputs = [
            Prediction({name: prediction[name] for name in self._outputs}, prediction.model_version)
            for prediction, _ in answers
        ]
        return outputs, [{name: prediction[name] for name in finals} for prediction, _ in answers]

    def _ask_once(
        self,
        metadata: ModelMetadata,
        rows: RowInputs,
        kept: Any,  # noqa: ANN401 - the previous token or sequence
    ) -> OperationSteps[tuple[list[Prediction], "str | _KeptSequence"]]:
        """Send one request with the token or the sequence in the server. Returns the outputs and the next `kept`."""
        if self._operations.count_requests(metadata, rows, self._outputs) > 1:
            raise InvalidRequest(
                "the rows of this step do not share one request, and the session has the states of one: make their "
                'sizes equal, raise max_rows and max_request_bytes of the client, or use state="carried"'
            )
        steps = self._operations.ask(self.model, self._first_version, metadata, rows, self._outputs)
        if self.state == "sealed":
            token = kept if isinstance(kept, str) else SESSION_BEGIN
            answers, kept = yield from repeat_calls(_with_token(steps, token))
        else:
            kept = self._kept = kept if isinstance(kept, _KeptSequence) else _KeptSequence()
            answers = yield from kept.send(steps, self.steps)
        self.metadata = answers[0][1]
        return [prediction for prediction, _ in answers], kept


def require_sessions(metadata: ModelMetadata) -> None:
    """Raise InvalidRequest, with the reason, if a model's sequences can't be sent step by step."""
    reason = metadata.properties.get("sequences", "")
    if not (metadata.states or metadata.found_states):
        raise InvalidRequest(
            f"model {metadata.name} has no states, so that it has no sessions: predict() asks it about whole sequences"
            + (
                f". The server takes none of its sequences a part at a time: {reason}"
                if reason not in ("", "kept")
                else ""
            )
        )
    if not metadata.found_states and metadata.properties.get("continuable") == "false":
        raise InvalidRequest(
            f"model {metadata.name} has no sessions: its sequences may not be sent a part at a time"
            + (f", since {reason}" if reason else "")
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
            f"model {metadata.name} has several sequence axes ({', '.join(axes)}), so that it has no sessions: it is "
            "not said along which a sequence goes on"
        )
    return next(iter(axes), "")


def _with_token(steps: OperationSteps[T], token: str) -> OperationSteps[tuple[T, str]]:
    """Send a token with an operation's inference request. Returns the operation's result and the next token."""
    sealed = ""

    def send(call: RemoteCall | Pause) -> OperationSteps[Message | None]:
        nonlocal sealed
        if isinstance(call, RemoteCall) and isinstance(call.request, ModelInferRequest):
            call.request.parameters[SESSION].string_param = token
        answer = yield call
        if isinstance(answer, ModelInferResponse) and SESSION in answer.parameters:
            sealed = answer.parameters[SESSION].string_param
        return answer

    result = yield from answer_calls(steps, send)
    if not sealed:
        raise InvalidAnswer("the answer lacks the token with the session's states")
    return result, sealed


class _KeptSequence:
    """A sequence whose states the server keeps. Each request is sent only once, because a retry might count twice."""

    def __init__(self) -> None:
        self._identity = secrets.randbits(63) | 1
        self._place = Place(self._identity)
        self._has_begun = False
        self._is_lost = False

    def send(self, steps: OperationSteps[T], counted: int) -> OperationSteps[T]:
        """Send an operation's inference request as the next one, after `counted` steps of the sequence."""
        if self._is_lost:
            raise FailedPrecondition(
                "the session is over: an answer was lost, so that it is not known which steps the server has counted; "
                "reset() begins anew. A server with a key for sealed sessions (--session-key) would lose none"
            )
        self._is_lost = True  # until the response, because a cancelled step may or may not have counted
        try:
            result = yield from answer_calls(steps, self._named)
        except ClientError as error:
            self._is_lost = error.status not in _REFUSED
            if self._is_lost:
                error.add_note(f"with it, the session's states after {counted:,} steps are lost; reset() begins anew")
            raise
        self._is_lost, self._has_begun = False, True
        return result

    def _named(self, call: RemoteCall | Pause) -> OperationSteps[Message | None]:
        if isinstance(call, RemoteCall) and isinstance(call.request, ModelInferRequest):
            call.request.parameters[SEQUENCE_ID].int64_param = self._identity
            if not self._has_begun:
                call.request.parameters[SEQUENCE_START].bool_param = True
            call = dataclasses.replace(call, place=self._place)
        return (yield call)


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

    def outputs(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Return each row's outputs, without the sequence axis for one point, with it for several."""
        if not self.axis or not self._are_points:
            return list(predictions)
        return [
            Prediction({name: self._point(name, array) for name, array in row.items()}, row.model_version)
            for row in predictions
        ]

    def _with_axis(self, name: str, arrays: list[Any]) -> list[Any]:
        """Add the sequence axis, of size 1, to points of an input."""
        tensor = self._metadata.inputs.get(name)
        names = [axis for axis, _ in tensor.row_axes] if tensor is not None else []
        given = [as_array(array, name) for array in arrays]
        if self.axis not in names:
            if tensor is not None and not self.axis and any(array.ndim > len(names) for array in given):
                raise InvalidRequest(
                    f"{name} has shape {given[0].shape}, but model {self._metadata.name} takes one step at a time, "
                    f"{describe_row(tensor)}: call step() for each"
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
        return array.take(0, names.index(self.axis)) if self.axis in names else array


def _rows_of(value: Any, rows: int | None, name: str) -> list[Any]:  # noqa: ANN401 - whatever the caller passes
    if rows is None:
        return [value]
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InvalidRequest(
            f"{name} is a {type(value).__name__}. Expected a list with one entry for each of {rows} rows"
        )
    listed = list(value)
    if len(listed) != rows:
        raise InvalidRequest(f"{name} has {len(listed)} rows. Expected {rows}, as many as the session has")
    return listed
