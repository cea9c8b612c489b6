"""Serve /metrics on a private socket for the HTTP gateway, and on --metrics-port if it is set.

Without workers, the server responds on a thread that waits for Python's lock behind inference requests. With workers,
the supervisor responds, which handles no inference requests.
"""

import contextlib
import importlib.metadata
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from rnnserve.common.gateway_counts import GatewayCounts
from rnnserve.protos.access_table import METRICS_ROUTE, ROUTES
from rnnserve.protos.protocol_words import CERTIFICATE
from rnnserve.server.access.gate import Gate, open_gate
from rnnserve.server.counting.exposition import Exposition, Totals
from rnnserve.server.counting.table import used_table
from rnnserve.server.errors import ServeError
from rnnserve.server.settings import CommandSettings, Settings
from rnnserve.server.system import giving_way, listen_on

__all__ = ["Metrics", "metrics_served"]

_log = logging.getLogger(__name__)

SOCKET_NAME = "metrics"
"""The socket's name in the folder of the private sockets. The workers' sockets have names that end in .sock."""

_MOST_AT_ONCE = 16
"""Scrapes handled at the same time. Further scrapes wait."""

_PATHS = ("/metrics", "/")
_REFUSALS = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403}
"""HTTP status of the gate's refusals."""


class Metrics:
    """The metrics and the threads that respond to scrapes. Each scrape calls `count_gauges` first."""

    def __init__(self, gate: Gate | None = None, gateways: Sequence[GatewayCounts] = ()) -> None:
        """Begin with the counts of this process and of the HTTP gateway's processes."""
        self.totals = Totals()  # the counts of all processes
        self.totals.add(used_table())
        self.totals.gateways += gateways
        self.count_gauges: Callable[[], None] = lambda: None
        self.port: int | None = None  # --metrics-port, or None
        self.gate = gate  # decides which scrapers to serve. None: all of them
        self._exposition = Exposition(self.totals, importlib.metadata.version("rnnserve"))
        self._places = threading.BoundedSemaphore(_MOST_AT_ONCE)
        self._listeners: list[socket.socket] = []

    def answer_on(self, listener: socket.socket) -> None:
        """Respond to scrapes on a new thread from now on."""
        self._listeners.append(listener)
        threading.Thread(target=self._accept, args=(listener,), name="metrics", daemon=True).start()

    def stop(self) -> None:
        """Accept no more scrapes."""
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`
            listener.close()

    def text(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics in the format that a header Accept requests, and the content type."""
        self.count_gauges()
        return self._exposition.text(accept)

    def _accept(self, listener: socket.socket) -> None:
        while listener.fileno() >= 0:
            try:
                connection, _ = listener.accept()
            except OSError:  # the listener is closed, the scraper has gone again, or no descriptor is left
                time.sleep(0.01)
                continue
            self._places.acquire()
            try:
                threading.Thread(target=self._answer, args=(connection,), name="scrape", daemon=True).start()
            except RuntimeError:  # no thread is left
                self._places.release()
                connection.close()

    def _answer(self, connection: socket.socket) -> None:
        try:
            with connection:
                _Scrape(connection, self)
        except OSError:
            pass  # the scraper has gone, or is too slow
        except Exception:  # noqa: BLE001 - further scrapes must be served
            _log.exception("cannot answer a scrape of the metrics")
        finally:
            self._places.release()


class _Scrape(BaseHTTPRequestHandler):
    """Answers one request on a connection."""

    timeout = 1.0  # seconds for each part of the request, and for the response
    protocol_version = "HTTP/1.1"

    def __init__(self, connection: socket.socket, metrics: Metrics) -> None:
        self._metrics = metrics
        super().__init__(connection, ("", 0), metrics)  # type: ignore[arg-type]  # expects its own server

    def handle(self) -> None:
        """Answer one request only."""
        self.close_connection = True
        self.handle_one_request()

    def do_GET(self) -> None:
        """Send the metrics, or an error."""
        if urlsplit(self.path).path not in _PATHS:
            self._send(404, b"the metrics are at /metrics\n", "text/plain")
            return
        try:
            self._let_in()
        except ServeError as error:
            self._send(_REFUSALS.get(error.status, 500), f"{error}\n".encode(), "text/plain")
            return
        with giving_way():
            text, content_type = self._metrics.text(self.headers.get("Accept", ""))
        self._send(200, text, content_type)

    do_HEAD = do_GET  # noqa: N815 - the library's names

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def _let_in(self) -> None:
        """Check the request with the gate. Raises the gate's errors."""
        gate = self._metrics.gate
        if gate is None:
            return
        gate.look(time.monotonic())
        is_gateway = self.request.family == socket.AF_UNIX  # it forwards the client's certificate
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


@contextlib.contextmanager
def metrics_served(
    command: CommandSettings, settings: Settings, gateways: Sequence[GatewayCounts] = ()
) -> Iterator[Metrics]:
    """Serve scrapes inside the block. Raise StartError if the port is taken, or no scraper could be admitted."""
    settings.check_metrics_port(command.metrics_port)
    metrics = Metrics(open_gate(settings), gateways)
    try:
        if settings.private_sockets is not None:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(settings.private_sockets / SOCKET_NAME))
            listener.listen()
            metrics.answer_on(listener)
        if command.metrics_port is not None:
            listener = listen_on(settings.host, command.metrics_port, "metrics")
            metrics.port = listener.getsockname()[1]
            metrics.answer_on(listener)
        yield metrics
    finally:
        metrics.stop()
