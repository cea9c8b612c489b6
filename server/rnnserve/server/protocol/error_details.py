"""The details of an error beside its message: a google.rpc.Status with a BadRequest.

It names the field of the request that is wrong. It is trailing metadata of a refused call, as clients' libraries
for gRPC's richer error model read it (AIP-193, grpc_status.rpc_status).
"""

from google.rpc import code_pb2, error_details_pb2, status_pb2

from rnnserve.protos.protocol_words import REQUEST_ID, STATUS_DETAILS
from rnnserve.server.errors import ServeError

__all__ = ["details_metadata", "trailing_metadata"]

_MAX_BYTES = 2048
"""Bytes of the details of an error, beside its message. With the message, of 4 kB, they take 7 kB in base64: clients
let 8 kB of metadata through. Beyond it: a shorter description, or no details."""


def details_metadata(error: ServeError) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata with an error's details; none for an error that has none, or is too long.

    A long message is not repeated as the description of the field, and a longer one has no details: in them it has to
    be whole, or libraries refuse to read them.
    """
    if not error.field:
        return ()
    message = str(error)
    for description in (message, ""):
        status = status_pb2.Status(code=code_pb2.Code.Value(error.status), message=message)
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=description)
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
        details = status.SerializeToString()
        if len(details) <= _MAX_BYTES:
            return ((STATUS_DETAILS, details),)
    return ()


def trailing_metadata(error: ServeError, request_id: str) -> tuple[tuple[str, str | bytes], ...]:
    """The trailing metadata of a call that is refused: an error's details, and the request's id, by which logs have it.

    Args:
        error: The error.
        request_id: Id of the request; empty for none.
    """
    details = details_metadata(error)
    return (*details, (REQUEST_ID, request_id)) if request_id else details
