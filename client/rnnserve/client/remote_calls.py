"""Remote calls and pauses that an operation yields to its client, and the retries of lost calls."""

import random
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

from rnnserve.client.errors import Cancelled, ClientError, DeadlineExceeded, ResourceExhausted, Unavailable
from rnnserve.protos.protocol_words import SEQUENCE_HEADER

__all__ = ["OperationSteps", "Pause", "Place", "RemoteCall", "answer_calls", "repeat_calls"]

T = TypeVar("T")

_FIRST_SECONDS, _LONGEST_SECONDS = 0.02, 1.0


@dataclass
class Place:
    """The server that keeps a sequence, `ip:port`. Empty before the sequence's first request."""

    sequence: int
    server: str = ""

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The header with the sequence's id, from which a proxy finds the server."""
        return [(SEQUENCE_HEADER, str(self.sequence))]


@dataclass(frozen=True)
class RemoteCall:
    """A call of a method of GRPCInferenceService.

    A call with a place goes to the server that keeps its sequence, and is sent only once. Any server may handle a call
    without a place, which may also be sent twice.
    """

    method: str
    request: Message
    place: Place | None = None

    @property
    def headers(self) -> list[tuple[str, str]] | None:
        """The call's gRPC metadata, or None."""
        return None if self.place is None else self.place.headers


@dataclass(frozen=True)
class Pause:
    """A wait before the next call. If the operation has less time left, `error` is raised instead."""

    seconds: float
    error: ClientError


OperationSteps = Generator[RemoteCall | Pause, Message | None, T]
"""A generator that yields calls and returns the operation's result. It receives each response by `send` and each error
by `throw`. After a pause, it receives None, or the pause's error."""


def answer_calls(
    steps: OperationSteps[T], answer: Callable[[RemoteCall | Pause], OperationSteps[Message | None]]
) -> OperationSteps[T]:
    """Run an operation. For each call, run the steps that `answer` returns to get the response."""
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


def repeat_calls(steps: OperationSteps[T]) -> OperationSteps[T]:
    """Retry each call of an operation after UNAVAILABLE, or CANCELLED by the server, as long as time allows.

    After RESOURCE_EXHAUSTED, a call is retried only if the server sent a delay (google.rpc.RetryInfo), as it does at a
    limit of the client's token. Otherwise a retry would only add to the load.

    Use this only for operations whose calls may be sent twice. If there are several addresses, gRPC connects to another
    one before the next call.
    """
    return (yield from answer_calls(steps, _repeat))


def _repeat(call: RemoteCall | Pause) -> OperationSteps[Message | None]:
    if isinstance(call, Pause):
        return (yield call)
    lost: Unavailable | Cancelled | ResourceExhausted | None = None
    for seconds in _pauses():
        try:
            return (yield call)
        except (Unavailable, Cancelled) as error:
            lost = error
        except DeadlineExceeded as error:  # the retry ran out of time, so raise the error of the lost call
            if lost is None:
                raise
            raise lost from error
        except ResourceExhausted as error:
            if error.retry_after is None:
                raise
            lost = error
            seconds = max(seconds, error.retry_after)
        yield Pause(seconds, lost)
    raise AssertionError("the pauses do not end")


def _pauses() -> Iterator[float]:
    """Yield the seconds of each pause: none at first, because another address may respond, then doubling pauses.

    Each pause is shortened at random by up to half, so that the clients of a server don't all return at the same time.
    """
    yield 0.0
    seconds = _FIRST_SECONDS
    while True:
        yield seconds * random.uniform(0.5, 1.0)  # noqa: S311 - nothing secret
        seconds = min(2 * seconds, _LONGEST_SECONDS)
