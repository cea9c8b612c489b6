"""Errors of the gateway: an HTTP status and a message that explains what to do.

Like Triton, the gateway maps NOT_FOUND to 404, UNIMPLEMENTED to 501 and INTERNAL to 500, and uses 400 if no other
status fits better. Unlike Triton, it also uses 429, 503 and 504, because clients and proxies act on them.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType

import grpc

__all__ = ["NOT_CONNECTED", "NO_SERVER_HEADERS", "RestError", "bad_request", "error_of_status", "quoted"]

NO_SERVER_HEADERS = MappingProxyType({"retry-after": "1", "connection": "close"})
"""Headers of responses while the server is stopping or unreachable.

They close the connection because, behind a proxy, a new connection may reach another server.
"""

NOT_CONNECTED = ("failed to connect", "DNS resolution failed", "empty address list")
"""Prefixes of gRPC's own messages about a missing connection. These messages contain addresses, so clients never see
them."""

_STATUSES = MappingProxyType(
    {
        grpc.StatusCode.CANCELLED: 499,  # nginx's status for a disconnected client, so no client sees it
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
    """A refused request. If `is_of_server`, the server refused it and has already counted and logged the refusal."""

    def __init__(
        self, status: int, message: str, *, headers: Mapping[str, str] | None = None, is_of_server: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.is_of_server = is_of_server


def bad_request(message: str) -> RestError:
    """Make the error for an invalid request, which fails again if the client retries it."""
    return RestError(400, message)


def error_of_status(code: grpc.StatusCode, message: str, retry_after: float | None = None) -> RestError:
    """Make the error for a request that the server refused. `retry_after` is the server's advice, in seconds."""
    status = _STATUSES.get(code, 400)
    headers: dict[str, str] = {}
    if status in (429, 503):
        headers["retry-after"] = str(math.ceil(retry_after or 1))
    elif status == 401:
        headers["www-authenticate"] = "Bearer"
    return RestError(status, message or code.name, headers=headers, is_of_server=True)


def quoted(text: str) -> str:
    """Quote text from the client for an error message, shortened if it is long."""
    return f'"{text}"' if len(text) <= _MAX_QUOTED else f'"{text[:_MAX_QUOTED]}…" ({len(text):,} characters)'
