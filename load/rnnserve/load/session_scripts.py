"""What one session of a load test sends: the same points from the same beginning, again and again."""

from collections.abc import Sequence
from dataclasses import dataclass

from rnnserve.client import InvalidAnswer
from rnnserve.protos.inference_pb2 import ModelInferRequest, ModelInferResponse

__all__ = ["SessionScript", "state_fields"]


@dataclass(frozen=True)
class SessionScript:
    """The steps of a session. After the last one it begins anew.

    Requests of the pool lack the states. Their bytes come last in the protocol, so that they are appended.

    Attributes:
        first: Index of the first step's request in the pool; the others follow it.
        steps: Number of steps.
        finals: For each initial state, in the order of the requests, where its final one is among an answer's outputs.
        sizes: Bytes of each state.
        beginning: Fields of the states at the beginning, zeros.
    """

    first: int
    steps: int
    finals: tuple[int, ...]
    sizes: tuple[int, ...]
    beginning: bytes

    def next_states(self, response: ModelInferResponse) -> bytes:
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


def state_fields(states: Sequence[bytes]) -> bytes:
    """Return the fields of a request that hold states, to be appended to the rest."""
    return ModelInferRequest(raw_input_contents=states).SerializeToString()
