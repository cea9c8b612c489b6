"""A sequence whose states the server keeps: what names it in requests, and whether it is known where it stands."""

import dataclasses
import secrets
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from rnnserve.client.errors import ClientError, FailedPrecondition
from rnnserve.client.remote_calls import OperationSteps, Pause, Place, RemoteCall, answer_calls
from rnnserve.protos.inference_pb2 import ModelInferRequest
from rnnserve.protos.protocol_words import SEQUENCE_ID, SEQUENCE_START

__all__ = ["KeptSequence"]

T = TypeVar("T")

_LEFT_AS_IT_WAS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.FAILED_PRECONDITION,
}
"""Statuses of a server that has refused a request: its sequence is as it was."""


class KeptSequence:
    """One sequence of a session, from its first request on.

    A request is sent once: sent again, it might count twice.
    """

    def __init__(self) -> None:
        """Begin a sequence; no request of it has been sent yet."""
        self._identity = secrets.randbits(63) | 1
        self._place = Place(self._identity)
        self._has_begun = False
        self._is_lost = False

    def send(self, steps: OperationSteps[T], counted: int) -> OperationSteps[T]:
        """Make an operation's inference request the next one of the sequence.

        Args:
            steps: The operation.
            counted: Number of the sequence's steps that were answered before.

        Raises:
            FailedPrecondition: If it is not known which steps the server has counted.
        """
        if self._is_lost:
            raise FailedPrecondition(
                "the session is over: an answer was lost, so that it is not known which steps the server has counted; "
                "reset() begins anew. A server with a key for sealed sessions (--session-key) would lose none"
            )
        self._is_lost = True  # until it is answered: a step that is cancelled has an unknown end
        try:
            result = yield from answer_calls(steps, self._named)
        except ClientError as error:
            self._is_lost = error.status not in _LEFT_AS_IT_WAS
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
