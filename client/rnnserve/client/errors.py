"""The errors of the client, each with its gRPC status.

    ClientError               UNKNOWN, and every status without a class of its own (see `status`)
    ├── InvalidRequest        INVALID_ARGUMENT: the request is wrong; this library or the server found the mistake
    │   └── UnreadableInput   a file, or standard input, does not hold sequences
    ├── FailedPrecondition    FAILED_PRECONDITION: valid, but not now; a session of this server has ended: begin anew
    ├── Unauthenticated       UNAUTHENTICATED: the server asks for a token, and was sent none that is valid
    ├── PermissionDenied      PERMISSION_DENIED: the token is for something else: of another role, or for another model
    ├── ModelNotFound         NOT_FOUND: the server has no such model, or not that version of it
    ├── Unavailable           UNAVAILABLE: no server answers at the address, or the model exists but is not ready
    ├── DeadlineExceeded      DEADLINE_EXCEEDED: no answer within `timeout`
    ├── ResourceExhausted     RESOURCE_EXHAUSTED: the server is full, or a message is larger than a side allows
    ├── Unimplemented         UNIMPLEMENTED: the server does not implement this part of the protocol
    ├── Cancelled             CANCELLED: the client was closed, or the server cancelled the call
    └── InternalError         INTERNAL: the server failed; its log holds the details
        └── InvalidAnswer     the answer violates the protocol or contradicts the model's metadata

gRPC uses one status, UNAVAILABLE, both for a failed connection and for a server that answers UNAVAILABLE; only the
message differs. `is_live()` tells them apart with one more call.

The message is the server's, unchanged; `request_id` is the id by which its log has the request. Notes (`__notes__`) say
what this library adds: of several requests of one call, which sequences the failing one held; how a token is sent.
"""

from typing import ClassVar

import grpc

from rnnserve.protos.protocol_words import REQUEST_ID, STATUS_DETAILS

__all__ = [
    "Cancelled",
    "ClientError",
    "DeadlineExceeded",
    "FailedPrecondition",
    "InternalError",
    "InvalidAnswer",
    "InvalidRequest",
    "ModelNotFound",
    "PermissionDenied",
    "ResourceExhausted",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "UnreadableInput",
    "from_rpc_error",
    "reworded",
]

_MOST_DETAIL_BYTES = 16 << 10
"""Bytes of an error's details that are read: clients let 8 KiB of metadata through."""

_HOW_TO_SEND = "it is sent with --token-file FILE or RNNSERVE_TOKEN_FILE, and in Python with token_file="
_SHOW_CERTIFICATE = "it is shown with --tls-certificate and --tls-key, and in Python with tls_certificate= and tls_key="


class ClientError(Exception):
    """The root of all errors of the client; raised itself for a status without a class of its own."""

    STATUS: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    status: grpc.StatusCode
    """The server's status, or the status that the server would have answered."""

    request_id: str = ""
    """Id by which the server's log and traces have the request, empty where the server has told none."""

    retry_after: float | None = None
    """Seconds after which the server asks that the request be sent again; None where it says nothing of that."""

    def __init__(self, message: str, status: grpc.StatusCode | None = None) -> None:
        super().__init__(message)
        self.status = self.STATUS if status is None else status


class InvalidRequest(ClientError):
    """The request is wrong and would be refused again: correct it before you send it again."""

    STATUS = grpc.StatusCode.INVALID_ARGUMENT


class UnreadableInput(InvalidRequest):
    """A file, or standard input, does not hold sequences in the format expected."""


class FailedPrecondition(ClientError):
    """The request is valid, but what the server holds does not allow it.

    Of `rnnserve serve`: the session cannot be continued, since its state is too old, or the version on which it began
    no longer serves. Begin a new one.
    """

    STATUS = grpc.StatusCode.FAILED_PRECONDITION


class Unauthenticated(ClientError):
    """The server asks for a token, or for a certificate that it has a role for, and was sent none that is valid.

    None, an unknown, a revoked and an expired one are refused in the same words. The same call is refused again: give
    the client another (`token`, `token_file`).
    """

    STATUS = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(ClientError):
    """The token, or certificate, is valid, but of a role that does not include the call, or for another model.

    It says nothing of whether there is such a model.
    """

    STATUS = grpc.StatusCode.PERMISSION_DENIED


class ModelNotFound(ClientError):
    """The server has no model of that name, or not that version of it."""

    STATUS = grpc.StatusCode.NOT_FOUND


class Unavailable(ClientError):
    """No server answers at the address, or the model exists but is not ready; try again later."""

    STATUS = grpc.StatusCode.UNAVAILABLE


class DeadlineExceeded(ClientError):
    """No answer arrived within the timeout; the server may or may not have processed the request."""

    STATUS = grpc.StatusCode.DEADLINE_EXCEEDED


class ResourceExhausted(ClientError):
    """The server is full, or a limit of the client's token is reached, or a message is larger than one side allows.

    Try again later, with less load; `retry_after` says when, where the server does.
    """

    STATUS = grpc.StatusCode.RESOURCE_EXHAUSTED


class Unimplemented(ClientError):
    """The server does not implement this part of the Open Inference Protocol."""

    STATUS = grpc.StatusCode.UNIMPLEMENTED


class Cancelled(ClientError):
    """The call was cancelled: the client was closed during the call, or the server cancelled it."""

    STATUS = grpc.StatusCode.CANCELLED


class InternalError(ClientError):
    """The server failed, although the request is valid. The message holds an id to search for in the server's log."""

    STATUS = grpc.StatusCode.INTERNAL


class InvalidAnswer(InternalError):
    """The answer violates the protocol, or contradicts the model's metadata."""


_DIRECT: list[type[ClientError]] = ClientError.__subclasses__()
_CLASSES = {kind.STATUS: kind for kind in _DIRECT}


def reworded(error: ClientError, message: str) -> ClientError:
    """Return the same error with another message."""
    again = type(error)(message, error.status)
    vars(again).update(vars(error))
    return again


def from_rpc_error(error: grpc.RpcError) -> ClientError:
    """Return the error for an exception of `grpc` or `grpc.aio`, with its message unchanged.

    Both raise objects with `code()` and `details()`, but their common root class does not declare these methods.
    """
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return ClientError(str(error))
    message = error.details() or ""
    raised = _CLASSES.get(error.code(), ClientError)(message, error.code())
    if isinstance(raised, Unauthenticated):
        raised.add_note(_SHOW_CERTIFICATE if "client certificate" in message else _HOW_TO_SEND)
    for key, value in error.trailing_metadata() or ():
        if key == REQUEST_ID and isinstance(value, str):
            raised.request_id = value
        elif key == STATUS_DETAILS and isinstance(value, bytes):
            raised.retry_after = retry_delay(value)
    return raised


def retry_delay(details: bytes) -> float | None:
    """Return the seconds after which the server asks for a retry (AIP-193): RetryInfo in a google.rpc.Status."""
    if len(details) > _MOST_DETAIL_BYTES:
        return None
    # Few errors have details, and `rnnserve health` does without protobuf.
    from google.protobuf.message import DecodeError
    from google.rpc import error_details_pb2, status_pb2

    info = error_details_pb2.RetryInfo()
    try:
        for detail in status_pb2.Status.FromString(details).details:
            if detail.Is(info.DESCRIPTOR):
                info.ParseFromString(detail.value)
                seconds: float = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
                return max(seconds, 0.0)
    except DecodeError:
        pass
    return None
