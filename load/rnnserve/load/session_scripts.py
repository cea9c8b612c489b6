"""What one session of a load test sends: the same points from the same beginning, again and again."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Protocol

from rnnserve.client import InvalidAnswer
from rnnserve.protos.inference_pb2 import ModelInferRequest, ModelInferResponse
from rnnserve.protos.protocol_words import SEQUENCE_END, SEQUENCE_ID, SEQUENCE_START

__all__ = ["CarriedScript", "KeptScript", "SessionScript", "state_fields"]


class SessionScript(Protocol):
    """The steps of a session. After the last one it begins anew.

    Requests of the pool lack what makes them steps of a session: fields that are appended to their bytes.
    """

    @property
    def first(self) -> int:
        """Index of the first step's request in the pool; the others follow it."""

    @property
    def steps(self) -> int:
        """Number of steps."""

    @property
    def begins_anew_after_failure(self) -> bool:
        """Whether a session is over when a step of it fails; else the step is sent again."""

    def begin(self, session: str) -> bytes:
        """Return the fields of a session's first step.

        Args:
            session: Name of the session, which no other has had.
        """

    def go_on(self, session: str, step: int, response: ModelInferResponse) -> bytes:
        """Return the fields of a step after the first.

        Args:
            session: Name of the session.
            step: Index of the step.
            response: Answer of the step before.

        Raises:
            InvalidAnswer: The answer lacks what the step needs.
        """


@dataclasses.dataclass(frozen=True)
class CarriedScript:
    """Steps whose states the client carries from each answer to the next request.

    The states' bytes come last in the protocol, so that they are appended.

    Attributes:
        first: Index of the first step's request in the pool.
        steps: Number of steps.
        finals: For each initial state, in the order of the requests, where its final one is among an answer's outputs.
        sizes: Bytes of each state.
        beginning: Fields of the states at the beginning.
    """

    first: int
    steps: int
    finals: tuple[int, ...]
    sizes: tuple[int, ...]
    beginning: bytes
    begins_anew_after_failure: ClassVar[bool] = False

    def begin(self, session: str) -> bytes:  # noqa: ARG002 - its states say which it is
        """Return the fields of the states at the beginning."""
        return self.beginning

    def go_on(self, session: str, step: int, response: ModelInferResponse) -> bytes:  # noqa: ARG002
        """Return the fields of the states that continue an answer.

        Raises:
            InvalidAnswer: A state is missing, or has another size.
        """
        raw = response.raw_output_contents
        try:
            states = [raw[at] for at in self.finals]
        except IndexError as error:
            raise InvalidAnswer(f"the answer has {len(raw)} raw outputs, and lacks a final state") from error
        if any(len(state) != size for state, size in zip(states, self.sizes, strict=True)):
            raise InvalidAnswer(
                f"final states of {[len(state) for state in states]} bytes; expected {list(self.sizes)}"
            )
        return state_fields(states)


@dataclasses.dataclass(frozen=True)
class KeptScript:
    """Steps whose states the server keeps, by a `sequence_id`: of a model with states that were found in its graph.

    Attributes:
        first: Index of the first step's request in the pool.
        steps: Number of steps.
    """

    first: int
    steps: int
    begins_anew_after_failure: ClassVar[bool] = True

    def begin(self, session: str) -> bytes:
        """Return the parameters that begin a sequence."""
        return self._fields(session, 0)

    def go_on(self, session: str, step: int, response: ModelInferResponse) -> bytes:  # noqa: ARG002
        """Return the parameters that continue a sequence; the last step ends it."""
        return self._fields(session, step)

    def _fields(self, session: str, step: int) -> bytes:
        request = ModelInferRequest()
        request.parameters[SEQUENCE_ID].string_param = session
        if step == 0:
            request.parameters[SEQUENCE_START].bool_param = True
        if step == self.steps - 1:
            request.parameters[SEQUENCE_END].bool_param = True
        return request.SerializeToString()


def state_fields(states: Sequence[bytes]) -> bytes:
    """Return the fields of a request that hold states, to be appended to the rest."""
    return ModelInferRequest(raw_input_contents=states).SerializeToString()
