"""What can go wrong between asking and answering, each with the gRPC status that it stands for.

    ClientError               UNKNOWN, and every status that has no class of its own (`status` says which)
    ├── InvalidRequest        INVALID_ARGUMENT: the request is wrong, whether this library or the server noticed
    │   └── UnreadableInput   a file, or standard input, that holds no sequences
    ├── ModelNotFound         NOT_FOUND: no model of that name, or no such version of it
    ├── Unavailable           UNAVAILABLE: nobody answers at the address, or the model is known but not ready
    ├── DeadlineExceeded      DEADLINE_EXCEEDED: no answer within `timeout`
    ├── ResourceExhausted     RESOURCE_EXHAUSTED: the server is full, or a message is larger than a side allows
    ├── Unimplemented         UNIMPLEMENTED: what answers there does not speak this part of the protocol
    ├── Cancelled             CANCELLED: the client was closed, or the server gave up
    └── InternalError         INTERNAL: a fault of the server's; its log knows more
        └── InvalidAnswer     an answer that breaks the protocol or disagrees with the model's metadata

gRPC gives one status, UNAVAILABLE, both where a connection fails and where a server says so itself, and nothing but
the wording tells them apart: `is_live()` does, by asking.

The message is the server's, word for word. Where one call was sent as several requests, a note (`__notes__`) says
which sequences the failing request held.
"""

from typing import ClassVar

import grpc

__all__ = [
    "Cancelled",
    "ClientError",
    "DeadlineExceeded",
    "InternalError",
    "InvalidAnswer",
    "InvalidRequest",
    "ModelNotFound",
    "ResourceExhausted",
    "Unavailable",
    "Unimplemented",
    "UnreadableInput",
    "from_rpc_error",
    "from_status",
]


class ClientError(Exception):
    """The root of everything raised here on purpose; raised itself for a status that has no class of its own."""

    STATUS: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    status: grpc.StatusCode
    """What the server answered, or what this library would have been answered."""

    def __init__(self, message: str, status: grpc.StatusCode | None = None) -> None:
        super().__init__(message)
        self.status = self.STATUS if status is None else status


class InvalidRequest(ClientError):
    """The request is wrong and will be refused again: mend it rather than repeat it."""

    STATUS = grpc.StatusCode.INVALID_ARGUMENT


class UnreadableInput(InvalidRequest):
    """A file, or standard input, does not hold sequences in the format expected."""


class ModelNotFound(ClientError):
    """The server has no model of that name, or not that version of it."""

    STATUS = grpc.StatusCode.NOT_FOUND


class Unavailable(ClientError):
    """Nobody answers at the address, or the model is known but not ready; worth another try later."""

    STATUS = grpc.StatusCode.UNAVAILABLE


class DeadlineExceeded(ClientError):
    """No answer came within the time allowed; the server may or may not have done the work."""

    STATUS = grpc.StatusCode.DEADLINE_EXCEEDED


class ResourceExhausted(ClientError):
    """The server's queue is full (try again, later and less), or a message is larger than one side allows."""

    STATUS = grpc.StatusCode.RESOURCE_EXHAUSTED


class Unimplemented(ClientError):
    """What answers at the address does not speak this part of the Open Inference Protocol."""

    STATUS = grpc.StatusCode.UNIMPLEMENTED


class Cancelled(ClientError):
    """The call was given up: the client was closed meanwhile, or the server dropped it."""

    STATUS = grpc.StatusCode.CANCELLED


class InternalError(ClientError):
    """The server failed through no fault of the request; its message holds an id to look for in its log."""

    STATUS = grpc.StatusCode.INTERNAL


class InvalidAnswer(InternalError):
    """The answer breaks the protocol, or disagrees with what the model's metadata promised."""


_CLASSES: dict[grpc.StatusCode, type[ClientError]] = {
    kind.STATUS: kind
    for kind in (
        InvalidRequest,
        ModelNotFound,
        Unavailable,
        DeadlineExceeded,
        ResourceExhausted,
        Unimplemented,
        Cancelled,
        InternalError,
    )
}


def from_status(status: grpc.StatusCode, message: str) -> ClientError:
    """Return the error for a status, with the message as it is."""
    return _CLASSES.get(status, ClientError)(message, status)


def from_rpc_error(error: grpc.RpcError) -> ClientError:
    """Return the error for what `grpc` or `grpc.aio` raised.

    Both raise objects with `code()` and `details()`; only the root class that they share does not declare them.
    """
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return ClientError(str(error))
    return from_status(error.code(), error.details() or "")
