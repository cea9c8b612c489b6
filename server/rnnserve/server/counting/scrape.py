"""One request for the metrics, over HTTP."""

import socket
import time
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from rnnserve.protos.access_table import METRICS_ROUTE, ROUTES
from rnnserve.protos.protocol_words import CERTIFICATE
from rnnserve.server.counting.endpoint import MetricsEndpoint
from rnnserve.server.errors import ServeError

__all__ = ["Scrape"]

_SECONDS = 1.0
"""Seconds that a scraper may take for each part of its request, and again to read."""

_PATHS = ("/metrics", "/")

_REFUSALS = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403}
"""HTTP status of the gate's refusals."""


class Scrape(BaseHTTPRequestHandler):
    """Answers one request on a connection."""

    timeout = _SECONDS
    protocol_version = "HTTP/1.1"

    def __init__(self, connection: socket.socket, endpoint: MetricsEndpoint) -> None:
        self._endpoint = endpoint
        super().__init__(connection, ("", 0), endpoint)  # type: ignore[arg-type]  # of a server that is not the library's

    def handle(self) -> None:
        """Answer one request only."""
        self.close_connection = True
        self.handle_one_request()

    def do_GET(self) -> None:
        """Send the metrics, or why not."""
        if urlsplit(self.path).path not in _PATHS:
            self._send(404, b"the metrics are at /metrics\n", "text/plain")
            return
        try:
            self._let_in()
        except ServeError as error:
            self._send(_REFUSALS.get(error.status, 500), f"{error}\n".encode(), "text/plain")
            return
        with self._endpoint.while_answering():
            text, content_type = self._endpoint.scrape(self.headers.get("Accept", ""))
        self._send(200, text, content_type)

    do_HEAD = do_GET  # noqa: N815 - likewise

    def do_POST(self) -> None:
        """Refuse it."""
        self._send(405, b"GET /metrics\n", "text/plain")

    do_PUT = do_DELETE = do_POST  # noqa: N815 - likewise

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def _let_in(self) -> None:
        """Have the gate look at the request.

        Raises:
            PermissionDenied: If its token is not for metrics.
            Unauthenticated: If it brings none that is valid.
        """
        gate = self._endpoint.gate
        if gate is None:
            return
        gate.look(time.monotonic())
        is_gateway = self.request.family == socket.AF_UNIX  # which passes on the certificate that it has seen
        fields = [(name.lower(), value.strip()) for name, value in self.headers.items()]
        certificate = next((value for name, value in fields if name == CERTIFICATE and is_gateway), "")
        gate.admit_to(ROUTES[METRICS_ROUTE], fields, lambda: certificate)

    def _send(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        if status == _REFUSALS["UNAUTHENTICATED"]:
            self.send_header("WWW-Authenticate", "Bearer")
        for name, value in (("Content-Type", content_type), ("Content-Length", len(body)), ("Connection", "close")):
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
