"""What the front's log says of single requests: of those that it refuses itself. The server's says of all others.

Before a server elsewhere, whose log is elsewhere, it says of all that are refused, and of all others, too, if that is
wanted. A line has no more of a client's own than its id: no path, which names a model that there need not be.
"""

from http import HTTPStatus
from typing import NamedTuple

from starlette.types import Scope

from rnnserve.common.gateway_counts import used_gateway_counts
from rnnserve.common.request_lines import LOG_REQUESTS, LineBudget, log_request, trace_id_of
from rnnserve.web.errors import RestError

__all__ = ["RequestLog", "RequestWords", "words_of"]

_NOT_OF_HTTP = {499: "client_closed_request"}
"""Statuses that http.HTTPStatus does not have."""


class RequestWords(NamedTuple):
    """What a line says of a request beside its end.

    Attributes:
        request_id: Its name.
        method: Its method.
        route: The pattern of its path; empty where there is none.
        client: Address and port of its client; None where they are not known.
        traceparent: Header of that name; empty where there is none.
    """

    request_id: str
    method: str
    route: str
    client: tuple[str, int] | None
    traceparent: str = ""


def words_of(scope: Scope) -> RequestWords:
    """What a line says of a request that came by ASGI."""
    traceparent = b""
    for name, value in scope["headers"]:
        if name == b"traceparent":
            traceparent = value
    route = getattr(scope.get("route"), "path", "")
    return RequestWords(
        scope["rnnserve.id"], scope["method"], route, scope.get("client"), traceparent.decode("latin-1")
    )


class RequestLog:
    """Writes the lines. For one loop."""

    def __init__(self, log_requests: str = LOG_REQUESTS[0], *, has_server_log: bool = True) -> None:
        """Begin.

        Args:
            log_requests: One of `LOG_REQUESTS`.
            has_server_log: Whether the server's log has lines of what it is asked.
        """
        self._is_on = log_requests != "none"
        self._says_all = log_requests == "all"
        self._has_server_log = has_server_log
        self._budget = LineBudget()

    @property
    def wants_answers(self) -> bool:
        """Whether it has lines of requests that were answered well."""
        return self._says_all and not self._has_server_log

    def refused(self, error: RestError, words: RequestWords) -> None:
        """Count a request that this front refuses, and write the line of any that is, unless the server has one."""
        if not error.is_of_server:
            used_gateway_counts().count_refusal(error.status)
        if not self._is_on or (error.is_of_server and self._has_server_log):
            return
        status = error.status
        reason = _NOT_OF_HTTP.get(status) or HTTPStatus(status).name.lower()
        left_out = self._budget.left_out(reason) if self._says_all else self._budget.take(reason)
        if left_out is not None:
            self._write(words, status, reason, left_out)

    def answered(self, status: int, words: RequestWords) -> None:
        """Write the line of a request that was answered."""
        self._write(words, status, "", 0)

    def _write(self, words: RequestWords, status: int, reason: str, left_out: int) -> None:
        fields = {
            "request_id": words.request_id,
            "trace_id": trace_id_of(words.traceparent),
            "peer": "http:{}:{}".format(*words.client) if words.client else "",
            "method": words.method,
            "route": words.route,
            "status": status,
            "reason": reason,
        }
        log_request(fields, has_failed=bool(reason), left_out=left_out)
