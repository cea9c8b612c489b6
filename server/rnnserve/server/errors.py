"""What can go wrong while serving, and the gRPC status that says so.

::

    ServeError
    ├── InvalidRequest      INVALID_ARGUMENT    the request would fail however often it is sent
    ├── NotFound            NOT_FOUND           no model or version of that name is in the repository
    ├── NotReady            UNAVAILABLE         it is in the repository but does not serve (now)
    ├── ShuttingDown        UNAVAILABLE         this server is going; another may answer
    ├── QueueFull           RESOURCE_EXHAUSTED  more waits than the server promised to hold: slow down
    ├── DeadlinePassed      DEADLINE_EXCEEDED   the caller has stopped waiting
    ├── Cancelled           CANCELLED           the caller has gone
    ├── Unsupported         UNIMPLEMENTED       the protocol has it, this server has not
    └── InternalError       INTERNAL            ours; the detail is in the log, under the id in the message

    StartError                                  the server cannot start as asked; never reaches a client

Transports turn a `ServeError` into its status, message included, in one place each. The message of every one of them is
written for the caller; nothing else ever reaches one.
"""

import logging
import secrets

import grpc

__all__ = [
    "Cancelled",
    "DeadlinePassed",
    "InternalError",
    "InvalidRequest",
    "NotFound",
    "NotReady",
    "QueueFull",
    "ServeError",
    "ShuttingDown",
    "StartError",
    "Unsupported",
]

_log = logging.getLogger(__name__)


class ServeError(Exception):
    """Root of what a caller may be told."""

    status: grpc.StatusCode = grpc.StatusCode.INTERNAL


class InvalidRequest(ServeError):
    """The request itself is wrong: its tensors, names or bytes."""

    status = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(ServeError):
    """No such model or version in the repository."""

    status = grpc.StatusCode.NOT_FOUND


class NotReady(ServeError):
    """The model is known but does not serve: it is loading, or its proof failed."""

    status = grpc.StatusCode.UNAVAILABLE


class ShuttingDown(ServeError):
    """The server has stopped taking requests."""

    status = grpc.StatusCode.UNAVAILABLE


class QueueFull(ServeError):
    """As many requests wait for the model as may."""

    status = grpc.StatusCode.RESOURCE_EXHAUSTED


class DeadlinePassed(ServeError):
    """The request's deadline passed before it was run."""

    status = grpc.StatusCode.DEADLINE_EXCEEDED


class Cancelled(ServeError):
    """The caller cancelled, or its connection broke, before the request was run."""

    status = grpc.StatusCode.CANCELLED


class Unsupported(ServeError):
    """A part of the protocol that this server does not speak."""

    status = grpc.StatusCode.UNIMPLEMENTED


class InternalError(ServeError):
    """A defect of ours: callers get an id, the log gets the exception under the same id."""

    status = grpc.StatusCode.INTERNAL

    @classmethod
    def hiding(cls, cause: BaseException) -> "InternalError":
        """Log `cause` with its traceback, and return an error that says nothing of it but the id."""
        error_id = secrets.token_hex(4)
        _log.error("internal error %s", error_id, exc_info=cause)
        return cls(f"internal error {error_id}: the server's log has the details")


class StartError(Exception):
    """The server cannot start as asked: no models, a provider that is not there, a port in use."""
