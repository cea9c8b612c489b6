"""From a gRPC status to an error of HTTP.

NOT_FOUND 404, UNIMPLEMENTED 501, INTERNAL 500 and, for what has no better one, 400 are Triton's choices. Not Triton's:
429 for RESOURCE_EXHAUSTED and 504 for DEADLINE_EXCEEDED, which clients and proxies act upon; 401 and 403. With 429 and
503 goes Retry-After: the same request may succeed a little later, or after as long as the server says.
"""

import math
from types import MappingProxyType

import grpc

from rnnserve.web.errors import RestError

__all__ = ["NOT_CONNECTED", "NO_SERVER_HEADERS", "RETRY_SECONDS", "error_of_status"]

RETRY_SECONDS = 1
"""Value of Retry-After. What fills a server's queues takes some seconds; a model's load, longer:
clients that ask each second cost nothing."""

NO_SERVER_HEADERS = MappingProxyType({"retry-after": str(RETRY_SECONDS), "connection": "close"})
"""Headers where the server ends, or has ended: a new connection may lead to another one, behind a proxy."""

NOT_CONNECTED = ("failed to connect", "DNS resolution failed", "empty address list")
"""How gRPC's own messages begin where it has no connection; they name addresses, which clients are not told."""

_CLIENT_CLOSED = 499
"""nginx's status for a request whose client has gone; no client sees it."""

_STATUSES = MappingProxyType(
    {
        grpc.StatusCode.CANCELLED: _CLIENT_CLOSED,
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


def error_of_status(code: grpc.StatusCode, message: str, retry_after: float | None = None) -> RestError:
    """Make the error that a client of HTTP is told, of a request that the server has refused.

    Args:
        code: The call's status; not OK.
        message: Message of the server, passed on as it is.
        retry_after: Seconds after which the server asks for another attempt; 0 or None where it says nothing of that.
    """
    status = _STATUSES.get(code, 400)
    headers: dict[str, str] = {}
    if status in (429, 503):
        headers["retry-after"] = str(math.ceil(retry_after or RETRY_SECONDS))
    elif status == 401:
        headers["www-authenticate"] = "Bearer"
    return RestError(status, message or code.name, headers=headers, is_of_server=True)
