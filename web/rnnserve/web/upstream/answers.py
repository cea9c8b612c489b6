"""The answer to one call of the server, or the error that a client of the front is told."""

import logging
from collections.abc import Callable
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from rnnserve.client.errors import from_rpc_error
from rnnserve.web.errors import RestError
from rnnserve.web.upstream.statuses import NO_SERVER_HEADERS, NOT_CONNECTED, error_of_status
from rnnserve.web.upstream.upstream import CallContext

__all__ = ["Answers", "NotConnected", "not_connected"]

_log = logging.getLogger(__name__)

Answered = TypeVar("Answered", bound=Message)


class NotConnected(RestError):
    """No server answers: the request has reached none."""


class Answers:
    """Waits for answers, and logs once that no server gives any."""

    def __init__(self) -> None:
        self._is_lost = False

    async def of(
        self,
        method: "Callable[..., grpc.aio.UnaryUnaryCall[Message, Answered]]",
        request: Message,
        context: CallContext,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Answered:
        """Call a method, and give its answer.

        Args:
            method: Method of a stub.
            request: Message that it takes.
            context: Metadata and time for the call.
            headers: Metadata beside those.

        Raises:
            RestError: With the server's message.
        """
        try:
            call = method(request, timeout=context.timeout, metadata=(*context.metadata, *headers))
        except grpc.aio.UsageError:  # closed since this server was chosen for the request, which waited for another way
            raise not_connected() from None
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise self._told(error) from None

    def _told(self, error: grpc.aio.AioRpcError) -> RestError:
        """The error that a client is told: the server's, or that there is none."""
        said = error.details() or ""
        if error.code() is not grpc.StatusCode.UNAVAILABLE or not said.startswith(NOT_CONNECTED):
            self._is_lost = False
            return error_of_status(error.code(), said, from_rpc_error(error).retry_after)
        if not self._is_lost:
            self._is_lost = True  # a line for each request would say no more
            _log.warning("no server answers: %s", said)
        return not_connected()


def not_connected() -> NotConnected:
    """Make the error where no server answers."""
    return NotConnected(
        503,
        "the server behind this HTTP front does not answer: it starts, has ended, or is elsewhere (--upstream)",
        headers=NO_SERVER_HEADERS,
    )
