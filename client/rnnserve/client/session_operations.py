"""Sessions without input and output: what each step sends, and what is kept for the next one.

A session's state travels with its requests: as the final states, which are sent as the initial ones (`h_n` as `h_0`),
or as the one token in which a server has sealed them. So the server keeps nothing, and a step that was lost with its
server is sent again to another one: it gets the same answer, whether or not the lost server had computed it.

States that were found in a model's graph cannot be carried, since its interface does not have them. A server without a
key keeps them (`kept_sequences`).
"""

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

from rnnserve.client.errors import ClientError, InvalidAnswer, InvalidRequest, Unimplemented
from rnnserve.client.kept_sequences import KeptSequence
from rnnserve.client.metadata import ModelMetadata
from rnnserve.client.operations import ClientOperations, add_states, check_model, check_outputs
from rnnserve.client.predictions import Prediction
from rnnserve.client.remote_calls import OperationSteps, RemoteCall
from rnnserve.client.repeated_calls import repeat_calls
from rnnserve.client.row_inputs import InputsLike, RowInputs, check_rows, main_input
from rnnserve.client.session_points import SessionPoints, sequence_axis
from rnnserve.client.tensors import Array
from rnnserve.protos.inference_pb2 import ModelInferRequest, ModelInferResponse
from rnnserve.protos.protocol_words import SEALED_SESSIONS, SESSION, SESSION_BEGIN

__all__ = ["SessionOperations", "StateForm", "require_sessions"]

T = TypeVar("T")

StateForm = Literal["carried", "sealed", "server"]
"""How a session's state travels: as the model's own tensors, or as one token that only servers can read; or not at all,
where the server keeps it."""

_Rows = Sequence[Mapping[str, Array] | None]
"""For each row an earlier result, which has the final states; None for a row that begins with zeros."""


class SessionOperations:
    """The operations of one session, and its state.

    Attributes:
        model: The model's name.
        steps: Steps that were answered since the session began: points of a row, of the longest where rows differ.
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
        """Prepare; nothing is asked yet.

        Args:
            operations: Operations of the client.
            model: The model's name.
            outputs: Names of the outputs to return; all but the final states if empty.
            rows: Number of sequences that are stepped together; None for one.
            state: The way of the state; None for "sealed" where the server offers it, else "carried", or "server" where
                states were found in the model's graph.
            continue_from: The states from which the rows continue at the beginning; None for zeros.
            version: The model's version; empty for the server's choice.

        Raises:
            InvalidRequest: An argument is none that a session can have.
        """
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
        self._operations = operations
        self._asked = outputs
        self._rows = rows
        self._state = state
        self._initial = continue_from
        self._asked_version = version
        self._version = version
        self._metadata: ModelMetadata | None = None
        self._outputs: list[str] = []
        self._kept: _Rows | str | KeptSequence | None = continue_from
        self._busy = threading.Lock()
        self._closed = False

    @property
    def metadata(self) -> ModelMetadata | None:
        """The model's metadata; None before the first step of a session that was not entered."""
        return self._metadata

    @property
    def state(self) -> StateForm | None:
        """How the state travels; None before that is known."""
        return self._state

    def open(self) -> OperationSteps[ModelMetadata]:
        """Ask for the model's metadata and for what the server offers, if that is not known yet."""
        if self._metadata is None:
            metadata = yield from self._operations.metadata(self.model, self._version)
            self._require_sessions(metadata)
            answered = [name for name, tensor in metadata.outputs.items() if not tensor.continues_as]
            self._outputs = check_outputs(metadata, self._asked or answered)
            if self._state in (None, "sealed"):
                self._state = yield from self._choose_form(metadata)
            self._metadata = metadata
        return self._metadata

    def close(self) -> None:
        """Take no more steps."""
        self._closed = True

    def reset(self) -> None:
        """Begin anew, with the states of the beginning and the version that the server then chooses.

        Raises:
            RuntimeError: A step is in progress.
        """
        with self.stepping():
            self.steps = 0
            self._kept = self._initial
            self._version = self._asked_version

    @contextlib.contextmanager
    def stepping(self) -> Iterator[None]:
        """Let one step be made at a time.

        Raises:
            RuntimeError: Another step is in progress, or the session has been closed.
        """
        if self._closed:
            raise RuntimeError(f"this session of {self.model} is closed: begin a new one")
        if not self._busy.acquire(blocking=False):
            raise RuntimeError(f"a step of this session of {self.model} is in progress: a session has one at a time")
        try:
            yield
        finally:
            self._busy.release()

    def step(self, point: InputsLike) -> OperationSteps[list[Prediction]]:
        """Send one step, or several, of each row; return each row's outputs.

        The session moves on only when all of it has been answered.
        """
        metadata = yield from self.open()
        given: dict[str, Any] = dict(point) if isinstance(point, Mapping) else {main_input(metadata).name: point}
        sent = next((name for name in given if name in metadata.states), None)
        if sent is not None:
            raise InvalidRequest(f"{sent} is the session's own state: continue_from gives the one that it begins with")
        points = SessionPoints(metadata, given, self._rows)
        axis, kept, answers, steps = sequence_axis(metadata), self._kept, [], 0
        for asked in points.requests:
            inputs: dict[str, Any] = dict(asked)
            if kept is not None and not isinstance(kept, str | KeptSequence):
                inputs = add_states(metadata, inputs, kept)
            rows = check_rows(metadata, inputs)
            if self._state == "sealed":
                token = kept if isinstance(kept, str) else SESSION_BEGIN
                answered, kept = yield from self._ask_sealed(metadata, rows, token)
            elif self._state == "server":
                kept = self._kept = kept if isinstance(kept, KeptSequence) else KeptSequence()
                answered = yield from self._ask_kept(metadata, rows, kept)
            else:
                answered, kept = yield from self._ask_carried(metadata, rows)
            answers.append(answered)
            steps += max(ends.get(axis, size.get(axis, 1)) for ends, size in zip(rows.ends, rows.sizes, strict=True))
        self._kept = kept
        self.steps += steps
        return points.combine(answers)

    def _require_sessions(self, metadata: ModelMetadata) -> None:
        require_sessions(metadata)
        found = metadata.found_states
        if found and (self._state == "carried" or self._initial is not None):
            raise InvalidRequest(
                f"model {metadata.name} has states that are no part of its interface ({', '.join(found)}), so they "
                'cannot be carried, nor continued from: leave out state="carried" and continue_from, or declare them '
                "with states= of publish"
            )

    def _choose_form(self, metadata: ModelMetadata) -> OperationSteps[StateForm]:
        is_offered = SEALED_SESSIONS in (yield from self._operations.server_extensions())
        if self._state == "sealed" and not is_offered:
            raise Unimplemented('the server seals no states: it has no key for them. state="carried" needs none')
        return "sealed" if is_offered else "server" if metadata.found_states else "carried"

    def _ask_carried(self, metadata: ModelMetadata, rows: RowInputs) -> OperationSteps[tuple[list[Prediction], _Rows]]:
        """Ask for the final states, too; return the outputs, and the states."""
        finals = list(metadata.states.values())
        requested = [*self._outputs, *(name for name in finals if name not in self._outputs)]
        answers = yield from repeat_calls(self._operations.ask(self.model, self._version, metadata, rows, requested))
        # The states of one version mean nothing to another.
        self._metadata, self._version = answers[0][1], answers[0][0].model_version or self._version
        outputs = [
            Prediction({name: prediction[name] for name in self._outputs}, prediction.model_version)
            for prediction, _ in answers
        ]
        return outputs, [{name: prediction[name] for name in finals} for prediction, _ in answers]

    def _ask_sealed(
        self, metadata: ModelMetadata, rows: RowInputs, token: str
    ) -> OperationSteps[tuple[list[Prediction], str]]:
        """Send the token, or begin; return the outputs, and the next token."""
        self._require_one_request(metadata, rows)
        asked = self._operations.ask(self.model, self._asked_version, metadata, rows, self._outputs)
        answers, token = yield from repeat_calls(_with_token(asked, token))
        self._metadata = answers[0][1]
        return [prediction for prediction, _ in answers], token

    def _ask_kept(
        self, metadata: ModelMetadata, rows: RowInputs, sequence: KeptSequence
    ) -> OperationSteps[list[Prediction]]:
        """Send the next request of a sequence whose states the server keeps; return the outputs."""
        self._require_one_request(metadata, rows)
        asked = self._operations.ask(self.model, self._asked_version, metadata, rows, self._outputs)
        answers = yield from sequence.send(asked, self.steps)
        self._metadata = answers[0][1]
        return [prediction for prediction, _ in answers]

    def _require_one_request(self, metadata: ModelMetadata, rows: RowInputs) -> None:
        if self._operations.count_requests(metadata, rows, self._outputs) > 1:
            raise InvalidRequest(
                "the rows of this step do not share one request, and the session has the states of one: make their "
                'sizes equal, raise max_rows and max_request_bytes of the client, or use state="carried"'
            )


def require_sessions(metadata: ModelMetadata) -> None:
    """Check that the sequences of a model can be sent step by step: with its states, or with those that were found.

    Raises:
        InvalidRequest: They cannot; the message says why.
    """
    why = metadata.properties.get("sequences", "")
    if not (metadata.states or metadata.found_states):
        raise InvalidRequest(
            f"model {metadata.name} has no states, so that it has no sessions: predict() asks it about whole sequences"
            + (f". The server takes none of its sequences a part at a time: {why}" if why not in ("", "kept") else "")
        )
    if not metadata.found_states and metadata.properties.get("continuable") == "false":
        raise InvalidRequest(
            f"model {metadata.name} has no sessions: its sequences may not be sent a part at a time"
            + (f", since {why}" if why else "")
        )
    sequence_axis(metadata)


def _with_token(steps: OperationSteps[T], token: str) -> OperationSteps[tuple[T, str]]:
    """Send a token with the inference request of an operation; return the operation's result and the next token."""
    sealed = ""
    try:
        call = next(steps)
        while True:
            if isinstance(call, RemoteCall) and isinstance(call.request, ModelInferRequest):
                call.request.parameters[SESSION].string_param = token
            try:
                answer = yield call
            except ClientError as error:
                call = steps.throw(error)
            else:
                if isinstance(answer, ModelInferResponse) and SESSION in answer.parameters:
                    sealed = answer.parameters[SESSION].string_param
                call = steps.send(answer)
    except StopIteration as done:
        if not sealed:
            raise InvalidAnswer("the answer lacks the token with the session's states") from None
        result: T = done.value
        return result, sealed
