"""The origin of a request: the client's connection, ids and trace context."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from rnnserve.common.log_lines import new_request_id, usable_id
from rnnserve.protos.protocol_words import ERRORS_AS_STATUSES, PEER, REQUEST_ID

__all__ = ["MANY_FIELDS", "Origin", "kept_metadata", "origin_of"]

MANY_FIELDS = 32
"""Maximum number of metadata fields that a call keeps as they are. Calls usually have five. With more than this, a call
keeps only the fields in use, because 500 fields take 100 kB as Python strings."""

_KEPT = frozenset((PEER, REQUEST_ID, "traceparent", "tracestate", ERRORS_AS_STATUSES))


class Origin(NamedTuple):
    """The origin of a request as it appears in log lines and spans."""

    peer: str  # name of its connection
    request_id: str  # from the client (metadata x-request-id, or the message's id) or generated
    message_id: str = ""  # the message's id, if it differs
    traceparent: str = ""  # W3C trace context (may be empty)
    tracestate: str = ""  # W3C trace state
    method: str = ""  # method of the protocol (empty if unknown)


def kept_metadata(metadata: Iterable[Any]) -> tuple[Any, ...]:
    """Return the metadata fields that the server uses."""
    return tuple([entry for entry in metadata if entry[0] in _KEPT])


def origin_of(peer: str, metadata: Iterable[Any], message_id: str, method: str) -> Origin:
    """Create the origin of a request. `message_id` is empty if the message has none."""
    request_id = traceparent = tracestate = ""
    for entry in metadata:
        key, value = entry[0], entry[1]
        if key == REQUEST_ID:
            request_id = usable_id(value) if isinstance(value, str) else ""
        elif key == "traceparent":
            traceparent = value if isinstance(value, str) else ""
        elif key == "tracestate":
            tracestate = value if isinstance(value, str) else ""
    message_id = usable_id(message_id)
    if not request_id:
        request_id, message_id = message_id or new_request_id(), ""
    return Origin(peer, request_id, message_id, traceparent, tracestate, method)
