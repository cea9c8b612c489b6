"""Where a request comes from: what its client and proxies say of it beside the request itself."""

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from rnnserve.common.request_lines import new_request_id, usable_id
from rnnserve.protos.protocol_words import ERRORS_AS_STATUSES, PEER, REQUEST_ID

__all__ = ["MANY_FIELDS", "Asked", "Origin", "kept_metadata", "origin_of"]

MANY_FIELDS = 32
"""Fields of a call's metadata above which only those that are looked at are kept while it is in hand: as texts of
Python, 500 take 100 kB. Usual calls have five."""

_KEPT = frozenset((PEER, REQUEST_ID, "traceparent", "tracestate", ERRORS_AS_STATUSES))


class Origin(NamedTuple):
    """What is told of a request's origin.

    Attributes:
        peer: Connection that it came on.
        request_id: Its name: the client's own (metadata x-request-id, or the message's id), or one that was made.
        message_id: The id in its message, where that is another one.
        traceparent: W3C trace context; empty where there is none.
        tracestate: What belongs to it.
        method: Method of the protocol; empty where that is not known here.
    """

    peer: str
    request_id: str
    message_id: str = ""
    traceparent: str = ""
    tracestate: str = ""
    method: str = ""


class Asked(Protocol):
    """A request that is refused."""

    def origin(self) -> Origin:
        """Say where it comes from. Before it is answered: what it was made of may be dropped then."""


def kept_metadata(metadata: Iterable[Any]) -> tuple[Any, ...]:
    """Give those fields of a call's metadata that are looked at."""
    return tuple([entry for entry in metadata if entry[0] in _KEPT])


def origin_of(peer: str, metadata: Iterable[Any], message_id: str, method: str) -> Origin:
    """Put together what is known.

    Args:
        peer: Connection that it came on.
        metadata: Metadata of its call, each entry a key and a value.
        message_id: Id in its message; empty for none.
        method: Name of the method.
    """
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
