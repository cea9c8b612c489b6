"""What an operation asks of its client: remote calls and pauses, as a generator yields them."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

from rnnserve.client.errors import ClientError
from rnnserve.protos.protocol_words import SEQUENCE_HEADER

__all__ = ["OperationSteps", "Pause", "Place", "RemoteCall", "answer_calls"]

T = TypeVar("T")


@dataclass
class Place:
    """Where the server is that keeps a sequence.

    Attributes:
        sequence: Id of the sequence. It is sent in a header, too, by which a proxy finds the server.
        server: Its address, `ip:port`; empty before the sequence's first request.
    """

    sequence: int
    server: str = ""

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The header."""
        return [(SEQUENCE_HEADER, str(self.sequence))]


@dataclass(frozen=True)
class RemoteCall:
    """A remote call for the client to make.

    Attributes:
        method: Name of the method in GRPCInferenceService.
        request: The request message.
        place: Where it has to go, since a server keeps what it continues; it is sent once. None for a call that any
            server may answer, and that may be sent twice.
    """

    method: str
    request: Message
    place: Place | None = None

    @property
    def headers(self) -> list[tuple[str, str]] | None:
        """GRPC's metadata of the call; None for none."""
        return None if self.place is None else self.place.headers


@dataclass(frozen=True)
class Pause:
    """A wait before the next call.

    Attributes:
        seconds: How long.
        error: Why; raised where the operation's time does not suffice for the wait.
    """

    seconds: float
    error: ClientError


OperationSteps = Generator[RemoteCall | Pause, Message | None, T]
"""Yields calls; receives each answer by `send`, or each error by `throw`; returns the operation's result. After a pause
it receives None, or the pause's error."""


def answer_calls(
    steps: OperationSteps[T], answer: Callable[[RemoteCall | Pause], OperationSteps[Message | None]]
) -> OperationSteps[T]:
    """Go through an operation, with a way of one's own to the answer of each call.

    Args:
        steps: The operation.
        answer: Function of a call that gives the steps to its answer; an error of the client's goes to the operation.
    """
    try:
        call = next(steps)
        while True:
            try:
                answered = yield from answer(call)
            except ClientError as error:
                call = steps.throw(error)
            else:
                call = steps.send(answered)
    except StopIteration as done:
        result: T = done.value
        return result
