"""Answers scrapes: over a private socket for the HTTP front, and on a port of its own where that is asked for.

One thread, one connection at a time, each for a second at most: a scraper comes every few seconds, and nothing else is
to be had here. With workers it is in the process that was started, which serves no request itself; without, in one of
its own (`scraper`).
"""

import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from types import MappingProxyType

from rnnserve.protos.access_table import METRICS_ROUTE, ROUTES
from rnnserve.protos.protocol_words import CERTIFICATE
from rnnserve.server.access.gate import Gate
from rnnserve.server.counting.exposition import CONTENT_TYPE
from rnnserve.server.errors import ServeError

__all__ = ["MetricsEndpoint"]

_log = logging.getLogger(__name__)

_SECONDS = 1.0
"""Seconds that a scraper may take to ask, and again to read."""

_MOST_BYTES = 8192
_PATHS = ("/metrics", "/")

_REFUSALS = MappingProxyType(
    {
        "UNAUTHENTICATED": ("401 Unauthorized", "WWW-Authenticate: Bearer\r\n"),
        "PERMISSION_DENIED": ("403 Forbidden", ""),
    }
)
"""How the gate's refusals are written, by their status of gRPC: the status of HTTP, and further fields of the head."""


class MetricsEndpoint:
    """Answers on sockets that listen."""

    def __init__(
        self, listeners: Sequence[socket.socket], scrape: Callable[[], bytes], gate: Gate | None = None
    ) -> None:
        """Prepare.

        Args:
            listeners: The sockets; they are closed at the end.
            scrape: A function that gives the text.
            gate: Gate that says which scrapers are answered; None for all of them.
        """
        self._gate = gate
        self._listeners = listeners
        self._scrape = scrape
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self.serve, name="metrics", daemon=True)

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self._wake.close()
        self._thread.join(3 * _SECONDS)
        for listener in self._listeners:
            listener.close()
        self._woken.close()

    def serve(self) -> None:
        """Answer on this thread, until `stop` is called on another."""
        with selectors.DefaultSelector() as selector:
            for each in (*self._listeners, self._woken):
                each.setblocking(False)
                selector.register(each, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._woken:
                        return
                    self._accept(key.fileobj)  # type: ignore[arg-type]  # one of ours

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:  # it has gone again, or there is no descriptor left
            time.sleep(0.01)
            return
        with connection:
            try:
                self._answer(connection)
            except OSError:
                pass  # the scraper has gone, or is too slow
            except Exception:  # noqa: BLE001 - the next scrape is to be answered
                _log.exception("a scrape of the metrics could not be answered")

    def _answer(self, connection: socket.socket) -> None:
        deadline = time.monotonic() + _SECONDS
        asked = b""
        while b"\r\n\r\n" not in asked:
            connection.settimeout(max(deadline - time.monotonic(), 1e-3))
            data = connection.recv(_MOST_BYTES)
            asked += data
            if not data or len(asked) > _MOST_BYTES or time.monotonic() > deadline:
                return
        method, path = [*asked.split(b" ", 2), b"", b""][:2]
        status, kind, body, more = "200 OK", CONTENT_TYPE, b"", ""
        if method not in (b"GET", b"HEAD"):
            status, kind, body = "405 Method Not Allowed", "text/plain", b"GET /metrics\n"
        elif path.split(b"?")[0].decode("latin-1") not in _PATHS:
            status, kind, body = "404 Not Found", "text/plain", b"the metrics are at /metrics\n"
        else:
            try:
                self._let_in(asked, connection)
                body = self._scrape()
            except ServeError as error:
                status, more = _REFUSALS.get(error.status, ("500 Internal Server Error", ""))
                kind, body = "text/plain", f"{error}\n".encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        connection.settimeout(_SECONDS)
        connection.sendall(f"{head}{more}\r\n".encode() + (b"" if method == b"HEAD" else body))

    def _let_in(self, asked: bytes, connection: socket.socket) -> None:
        """Have the gate look at a request.

        Raises:
            PermissionDenied: If its token is not for metrics.
            Unauthenticated: If it brings none that is valid.
        """
        gate = self._gate
        if gate is None:
            return
        gate.look(time.monotonic())
        is_front = (
            connection.family == socket.AF_UNIX
        )  # which says whose certificate it has seen, and whose scrape it is
        lines = [line.partition(":") for line in asked.decode("latin-1").split("\r\n")[1:]]
        said = [(name.lower(), value.strip()) for name, _, value in lines]
        certificate = next((value for name, value in said if name == CERTIFICATE and is_front), "")
        gate.admit_to(ROUTES[METRICS_ROUTE], said, lambda: certificate)
