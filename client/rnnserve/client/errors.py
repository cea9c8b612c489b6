"""The errors of the client, each with its gRPC status.

    ClientError               UNKNOWN, and every status that has no class here (see `status`)
    ├── InvalidRequest        INVALID_ARGUMENT: the request is wrong; the client or the server found the mistake
    │   └── UnreadableInput   a file, or standard input, does not contain sequences
    ├── FailedPrecondition    FAILED_PRECONDITION: the request is valid, but the session has ended: begin a new one
    ├── Unauthenticated       UNAUTHENTICATED: the server requires a token, and the request has no valid one
    ├── PermissionDenied      PERMISSION_DENIED: the token's role or models do not include this call
    ├── ModelNotFound         NOT_FOUND: the server does not have this model or this version
    ├── Unavailable           UNAVAILABLE: no server responds at the address, or the model is not ready
    ├── DeadlineExceeded      DEADLINE_EXCEEDED: no response within `timeout`
    ├── ResourceExhausted     RESOURCE_EXHAUSTED: the server is full, or a message is larger than a side allows
    ├── Unimplemented         UNIMPLEMENTED: the server does not implement this part of the protocol
    ├── Cancelled             CANCELLED: the client was closed, or the server cancelled the call
    └── InternalError         INTERNAL: the server failed; its log has the details
        └── InvalidAnswer     the response violates the protocol or contradicts the model's metadata

gRPC reports both a failed connection and a server's own UNAVAILABLE with the same status. Only the message differs. To
distinguish them, call `is_live()`.

The message is the server's, unchanged. To find the request in the server's log, search for `request_id`. The client
adds its own hints as notes (`__notes__`): which sequences the failing request contained, or how to send a token.
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
"""Bytes of an error's details that the client reads. gRPC accepts only 8 KiB of metadata by default."""

_HOW_TO_SEND = "pass a token with --token-file FILE or RNNSERVE_TOKEN_FILE, or in Python with token_file="
_SHOW_CERTIFICATE = "pass it with --tls-certificate and --tls-key, or in Python with tls_certificate= and tls_key="


class ClientError(Exception):
    """The root of all errors of the client. It is also raised directly, for a status that has no class here."""

    STATUS: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    status: grpc.StatusCode
    """The server's status. For an error that the client found itself, the status that the server would have used."""

    request_id: str = ""
    """The request's id in the server's log and traces, or empty if the server did not send one."""

    retry_after: float | None = None
    """Seconds to wait before you send the request again, or None if the server did not send a delay."""

    def __init__(self, message: str, status: grpc.StatusCode | None = None) -> None:
        super().__init__(message)
        self.status = self.STATUS if status is None else status


class InvalidRequest(ClientError):
    """The request is wrong, and the server would refuse it again. Correct it before you send it again."""

    STATUS = grpc.StatusCode.INVALID_ARGUMENT


class UnreadableInput(InvalidRequest):
    """A file, or standard input, does not contain sequences in the expected format."""


class FailedPrecondition(ClientError):
    """The request is valid, but the server's state does not allow it now. If a session raises it, begin a new one."""

    STATUS = grpc.StatusCode.FAILED_PRECONDITION


class Unauthenticated(ClientError):
    """The server requires a token, or a client certificate with a role, and the request has no valid one.

    The message is the same for a missing, unknown, revoked and expired token. Repeating the call fails again: give the
    client another token (`token`, `token_file`).
    """

    STATUS = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(ClientError):
    """The token or certificate is valid, but its role does not include the call, or it is for other models.

    The error does not reveal whether the model exists.
    """

    STATUS = grpc.StatusCode.PERMISSION_DENIED


class ModelNotFound(ClientError):
    """The server does not have this model, or not this version of it."""

    STATUS = grpc.StatusCode.NOT_FOUND


class Unavailable(ClientError):
    """No server responds at the address, or the model exists but is not ready. Try again later."""

    STATUS = grpc.StatusCode.UNAVAILABLE


class DeadlineExceeded(ClientError):
    """No response arrived within the timeout. The server may or may not have processed the request."""

    STATUS = grpc.StatusCode.DEADLINE_EXCEEDED


class ResourceExhausted(ClientError):
    """The server is full, the token's limit is reached, or a message is larger than one side allows.

    Try again later, with less load. `retry_after` is the delay in seconds, if the server sent one.
    """

    STATUS = grpc.StatusCode.RESOURCE_EXHAUSTED


class Unimplemented(ClientError):
    """The server does not implement this part of the Open Inference Protocol."""

    STATUS = grpc.StatusCode.UNIMPLEMENTED


class Cancelled(ClientError):
    """The call was cancelled, because the client was closed during the call or the server cancelled it."""

    STATUS = grpc.StatusCode.CANCELLED


class InternalError(ClientError):
    """The server failed, although the request is valid. The message contains an id to find in the server's log."""

    STATUS = grpc.StatusCode.INTERNAL


class InvalidAnswer(InternalError):
    """The response violates the protocol, or contradicts the model's metadata."""


_CLASSES: dict[grpc.StatusCode, type[ClientError]] = {kind.STATUS: kind for kind in ClientError.__subclasses__()}


def reworded(error: ClientError, message: str) -> ClientError:
    """Return the same error with another message."""
    again = type(error)(message, error.status)
    vars(again).update(vars(error))
    return again


def from_rpc_error(error: grpc.RpcError) -> ClientError:
    """Return the error for an exception of `grpc` or `grpc.aio`, with its message unchanged.

    The exceptions of both have `code()` and `details()`, but their common base class does not declare these methods.
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
    # Imported here, because few errors have details and `rnnserve health` runs without protobuf.
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
