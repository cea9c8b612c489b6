"""Operations whose calls are sent again while no server is there to answer them."""

import random
from collections.abc import Iterator
from typing import TypeVar

from google.protobuf.message import Message

from rnnserve.client.errors import Cancelled, DeadlineExceeded, ResourceExhausted, Unavailable
from rnnserve.client.remote_calls import OperationSteps, Pause, RemoteCall, answer_calls

__all__ = ["repeat_calls"]

T = TypeVar("T")

_FIRST_SECONDS, _LONGEST_SECONDS = 0.02, 1.0


def repeat_calls(steps: OperationSteps[T]) -> OperationSteps[T]:
    """Send each call of an operation again after UNAVAILABLE, or CANCELLED by the server, as long as time allows.

    Likewise after RESOURCE_EXHAUSTED where the server says after how long (google.rpc.RetryInfo), as it does at a
    limit of the client's token: not before that. Without such a word, more of the same would only fill it more.

    For operations that may be sent twice, since what they ask does not depend on what the server keeps. gRPC connects
    to another address, if there are several, before the next call.
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
        except DeadlineExceeded as error:  # the time ran out in a call that was sent again: the loss says why
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
    """Yield seconds: none at first, since another address may answer, then twice as long each time.

    A random half is left out, so that the clients of one server do not all come back at the same moment.
    """
    yield 0.0
    seconds = _FIRST_SECONDS
    while True:
        yield seconds * random.uniform(0.5, 1.0)  # noqa: S311 - nothing secret
        seconds = min(2 * seconds, _LONGEST_SECONDS)
