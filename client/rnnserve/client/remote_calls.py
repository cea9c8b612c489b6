"""Remote calls and pauses that an operation yields to its client, and the retries of lost calls."""

import random
from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

from rnnserve.client.errors import Cancelled, ClientError, DeadlineExceeded, ResourceExhausted, Unavailable

__all__ = ["OperationSteps", "Pause", "RemoteCall", "repeat_call"]

T = TypeVar("T")

_FIRST_SECONDS, _LONGEST_SECONDS = 0.02, 1.0


@dataclass(frozen=True)
class RemoteCall:
    """A call of a method of GRPCInferenceService.

    A call with a `sequence` belongs to the sequence with this id, whose state the server keeps. It is sent only once,
    and all such calls of a client go to the same server. Any server may handle other calls, and they may be sent twice.
    """

    method: str
    request: Message
    sequence: int | None = None


@dataclass(frozen=True)
class Pause:
    """A wait before the next call. If the operation has less time left, `error` is raised instead."""

    seconds: float
    error: ClientError


OperationSteps = Generator[RemoteCall | Pause, Message | None, T]
"""A generator that yields calls and returns the operation's result. It receives each response by `send` and each error
by `throw`. After a pause, it receives None, or the pause's error."""


def repeat_call(call: RemoteCall) -> OperationSteps[Message | None]:
    """Retry a call after UNAVAILABLE, or CANCELLED by the server, as long as the operation's time allows.

    After RESOURCE_EXHAUSTED, it retries only if the server sent a delay (google.rpc.RetryInfo), as a server does at a
    limit of the client's token. Otherwise a retry would only add to the load.

    The first retry follows at once, because another address may respond, and the others after doubling pauses. Each
    pause is shortened at random by up to half, so that the clients of a server don't all return at the same time.
    """
    lost: ClientError | None = None
    pause, following = 0.0, _FIRST_SECONDS
    while True:
        seconds = pause * random.uniform(0.5, 1.0)  # noqa: S311 - nothing secret
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
        pause, following = following, min(2 * following, _LONGEST_SECONDS)
