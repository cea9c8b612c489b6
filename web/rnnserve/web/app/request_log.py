"""Logs and counts requests that the gateway refuses. The server logs the requests that reach it.

A line contains no text from the client except the request ID. It has the route instead of the path, because the path
contains a model name that the client made up.
"""

from http import HTTPStatus

from rnnserve.common.gateway_counts import GatewayCounts
from rnnserve.common.log_lines import LOG_REQUESTS, LineBudget, log_request, trace_id_of
from rnnserve.web.app.exchange import Exchange
from rnnserve.web.errors import RestError

__all__ = ["RequestLog"]


class RequestLog:
    """Counts refused requests in `counts`, and logs them. `log_requests` must be in `LOG_REQUESTS`."""

    def __init__(self, log_requests: str = LOG_REQUESTS[0], counts: GatewayCounts | None = None) -> None:
        self._counts = counts or GatewayCounts()
        self._is_on = log_requests != "none"
        self._budget = LineBudget()

    def refused(self, error: RestError, exchange: Exchange) -> None:
        """Count and log a request that the gateway refuses. Ignores refusals by the server, which logs them."""
        if error.is_of_server:
            return
        self._counts.count_refusal(error.status)
        reason = HTTPStatus(error.status).name.lower()
        left_out = self._budget.take(reason) if self._is_on else None
        if left_out is None:
            return
        client = exchange.scope.get("client")
        fields = {
            "request_id": exchange.request_id,
            "trace_id": trace_id_of(exchange.headers.get(b"traceparent", b"").decode("latin-1")),
            "peer": "http:{}:{}".format(*client) if client else "",
            "method": exchange.scope.get("method", "GET"),
            "route": exchange.route,
            "status": error.status,
            "reason": reason,
        }
        log_request(fields, has_failed=True, left_out=left_out)
