"""What the gateway refuses, with an HTTP status and a message that says what to do.

404 for NOT_FOUND, 501 for UNIMPLEMENTED, 500 for INTERNAL, and 400 for everything without a better status are Triton's
choices. 429, 503 and 504 are ours, because clients and proxies act on them.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType

import grpc

__all__ = ["NOT_CONNECTED", "NO_SERVER_HEADERS", "STATUSES", "RestError", "bad_request", "error_of_status", "quoted"]

STATUSES: Mapping[int, str] = MappingProxyType(
    {
        400: "The request is wrong: the message says what came, what was expected, and what to do",
        401: "The request needs credentials: a token that the server knows, and that has not expired",
        403: "The credentials, or the page that the request comes from, are not admitted",
        404: "There is no such path, model or version",
        405: "The path has other methods: they are in Allow",
        408: "The body came too slowly",
        413: "The body, or its JSON, is larger than the gateway reads",
        415: "The body is compressed in an unknown way",
        426: "The path takes a WebSocket",
        429: "The server is full: try again after Retry-After seconds",
        431: "The headers are too large",
        500: "A defect: the log has the details, under the message's id",
        501: "The protocol has this, but the server does not",
        503: "Not ready, or no server answers: try again after Retry-After seconds",
        504: "No answer in time",
    }
)
"""What the statuses of refusals mean."""

NO_SERVER_HEADERS = MappingProxyType({"retry-after": "1", "connection": "close"})
"""Headers while the server ends or is gone: behind a proxy, a new connection may lead to another server."""

NOT_CONNECTED = ("failed to connect", "DNS resolution failed", "empty address list")
"""How gRPC's own messages begin if it has no connection. They name addresses, so clients do not get them."""

_STATUSES = MappingProxyType(
    {
        grpc.StatusCode.CANCELLED: 499,  # nginx's status for a client that has gone; no client sees it
        grpc.StatusCode.UNKNOWN: 500,
        grpc.StatusCode.INTERNAL: 500,
        grpc.StatusCode.DATA_LOSS: 500,
        grpc.StatusCode.DEADLINE_EXCEEDED: 504,
        grpc.StatusCode.NOT_FOUND: 404,
        grpc.StatusCode.PERMISSION_DENIED: 403,
        grpc.StatusCode.UNAUTHENTICATED: 401,
        grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
        grpc.StatusCode.UNIMPLEMENTED: 501,
        grpc.StatusCode.UNAVAILABLE: 503,
    }
)

_MAX_QUOTED = 100


class RestError(Exception):
    """A request that is refused. `is_of_server` says that the server refused it, and has counted and logged that."""

    def __init__(
        self, status: int, message: str, *, headers: Mapping[str, str] | None = None, is_of_server: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.is_of_server = is_of_server


def bad_request(message: str) -> RestError:
    """Make the error of a request that is wrong however often it is sent."""
    return RestError(400, message)


def error_of_status(code: grpc.StatusCode, message: str, retry_after: float | None = None) -> RestError:
    """Make the error for a request that the server refused. `retry_after` is in seconds, if the server named them."""
    status = _STATUSES.get(code, 400)
    headers: dict[str, str] = {}
    if status in (429, 503):
        headers["retry-after"] = str(math.ceil(retry_after or 1))
    elif status == 401:
        headers["www-authenticate"] = "Bearer"
    return RestError(status, message or code.name, headers=headers, is_of_server=True)


def quoted(text: str) -> str:
    """Quote a caller's own text to repeat it in a message. Only its beginning if it is long."""
    return f'"{text}"' if len(text) <= _MAX_QUOTED else f'"{text[:_MAX_QUOTED]}…" ({len(text):,} characters)'
