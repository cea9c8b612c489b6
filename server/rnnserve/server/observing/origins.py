"""Where a request comes from: what its client and proxies say of it beside the request itself."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from rnnserve.common.request_lines import new_request_id, usable_id
from rnnserve.protos.protocol_words import ERRORS_AS_STATUSES, PEER, REQUEST_ID

__all__ = ["MANY_FIELDS", "Origin", "kept_metadata", "origin_of"]

MANY_FIELDS = 32
"""Fields of a call's metadata above which a call keeps only those that are used: as texts of Python, 500 take 100 kB.
Usual calls have five."""

_KEPT = frozenset((PEER, REQUEST_ID, "traceparent", "tracestate", ERRORS_AS_STATUSES))


class Origin(NamedTuple):
    """What lines and spans say of a request's origin."""

    peer: str  # connection that it came on
    request_id: str  # its name: the client's own (metadata x-request-id, or the message's id), or one that was made
    message_id: str = ""  # the id in its message, if that is another one
    traceparent: str = ""  # W3C trace context; empty without one
    tracestate: str = ""  # what belongs to it
    method: str = ""  # method of the protocol; empty if that is not known here


def kept_metadata(metadata: Iterable[Any]) -> tuple[Any, ...]:
    """The fields of a call's metadata that are used."""
    return tuple([entry for entry in metadata if entry[0] in _KEPT])


def origin_of(peer: str, metadata: Iterable[Any], message_id: str, method: str) -> Origin:
    """Put together what is known; the message's id is empty if it has none."""
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
