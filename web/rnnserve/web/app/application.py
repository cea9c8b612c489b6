"""The ASGI application: finds the route of each request and sends its response or a JSON error."""

import asyncio
import logging
import secrets
from collections.abc import Iterable
from typing import Any

from rnnserve.protos.access_table import rows_missing
from rnnserve.web.app.access import GatewayAccess
from rnnserve.web.app.bodies import Budget
from rnnserve.web.app.edge import check_headers, check_host, is_own_origin
from rnnserve.web.app.exchange import Answer, ClientGone, Exchange, Scope, Send, StreamClosed, json_answer
from rnnserve.web.app.request_log import RequestLog
from rnnserve.web.app.routes import RouteEntry, route_finder
from rnnserve.web.app.streams import Stream, close_message, open_stream, refuse_stream
from rnnserve.web.connection import Receive, abort, certificate_of, is_gone, write_answer
from rnnserve.web.errors import NO_SERVER_HEADERS, RestError
from rnnserve.web.limits import Limits
from rnnserve.web.upstream.upstream import Upstream

__all__ = ["Application"]

_log = logging.getLogger(__name__)

_PIECE_BYTES = 64 << 10
"""Bytes of a response per write. The small size limits the memory that a client uses if it doesn't read."""


class Application:
    """Handles all requests and streams.

    `access` checks with the server whether a client may use a route. If it is None, every client may use every route.
    `ending` is set when the gateway shuts down: from then on, each response closes its connection. `streams` counts the
    open streams.
    """

    def __init__(
        self,
        upstream: Upstream,
        routes: Iterable[RouteEntry],
        limits: Limits | None = None,
        *,
        requests: RequestLog | None = None,
        access: GatewayAccess | None = None,
        tells_certificates: bool = False,
    ) -> None:
        self.routes = tuple(routes)
        if missing := rows_missing(entry.name for entry in self.routes):
            raise ValueError(f"the access table has no entry for {', '.join(missing)}: rnnserve/protos/access_table.py")
        self.ending = asyncio.Event()
        self._find = route_finder(self.routes)
        self._upstream = upstream
        self._limits = limits or Limits()
        self._requests = requests or RequestLog()
        self._access = access
        self._tells_certificates = tells_certificates
        self.streams: set[Stream] = set()
        self._budget = Budget(self._limits.max_held_bytes)
        self._running: set[Exchange] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request or a WebSocket stream."""
        if scope["type"] not in ("http", "websocket"):
            return
        exchange = Exchange(scope, receive, self._upstream, self._budget, self._limits)
        if self._tells_certificates:
            exchange.certificate = certificate_of(receive)
        self._running.add(exchange)
        try:
            if scope["type"] == "http":
                await self._send(exchange, send, await self._answer(exchange))
            else:
                await self._stream(exchange, receive, send)
        except ClientGone:
            pass
        finally:
            self._running.discard(exchange)
            exchange.let_go()

    def look(self, now: float) -> None:
        """End requests of clients that have disconnected or are too slow. Call this a few times per second."""
        for exchange in list(self._running):
            error = ClientGone() if is_gone(exchange.receive) else exchange.why_late(now)
            if error is not None:
                if isinstance(error, ClientGone):
                    abort(exchange.receive)
                exchange.end(error)

    def end(self) -> None:
        """Begin the shutdown: close idle streams now, and each connection after its next response."""
        self.ending.set()
        for exchange in self._running:
            if exchange.phase == "idle":
                exchange.end(StreamClosed(1001, "the server is shutting down; connect again"))

    async def _answer(self, exchange: Exchange) -> Answer:
        """Return the response to a request. Errors become error responses."""
        try:
            return await self._handle(exchange)
        except RestError as error:
            return self._refuse(exchange, error)
        except ClientGone:
            raise
        except asyncio.CancelledError:
            words = "the server has ended before it responded; the request may have run"
            late = RestError(503, words, headers=NO_SERVER_HEADERS) if self.ending.is_set() else None
            reason = exchange.why_ended(late)
            if isinstance(reason, RestError):
                return self._refuse(exchange, reason)
            raise reason from None
        except Exception as error:  # noqa: BLE001 - the response contains an error ID, and the gateway continues
            return self._refuse(exchange, self._defect(exchange, error))

    async def _handle(self, exchange: Exchange) -> Answer:
        headers = exchange.headers
        method: str = exchange.scope["method"]
        if b"origin" in headers and method not in ("GET", "HEAD") and not is_own_origin(headers):
            raise RestError(
                403,
                "this request comes from a page of another site (header Origin), and only pages of this site can "
                "send requests",
            )
        entry = await self._admit(exchange)
        handler = entry.handlers.get("GET" if method == "HEAD" else method)
        if handler is None:
            allowed = [*entry.handlers, *(["HEAD"] if "GET" in entry.handlers else [])]
            raise RestError(405, "Method Not Allowed", headers={"allow": ", ".join(allowed)})
        answer = await handler(exchange)
        exchange.hold_response(len(answer.body))
        return answer

    async def _admit(self, exchange: Exchange) -> RouteEntry:
        """Check the headers and the client's access, and return the route."""
        check_headers(exchange.scope["headers"], exchange.headers)
        check_host(exchange.headers, exchange.scope.get("server"), self._limits.allowed)
        found = self._find(exchange.scope["raw_path"])
        if found is None:
            raise RestError(404, "Not Found")
        exchange.route, exchange.params = found.entry.path, found.params
        if self._access is not None:
            await self._access.check(found.entry.name, exchange)
        return found.entry

    async def _stream(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        is_own = is_own_origin(exchange.headers, self._limits.allowed)
        stream = open_stream(exchange, receive, send)
        try:
            await self._check_stream(exchange, is_own=is_own)
            self.streams.add(stream)
            await stream.accept()
            await stream.run(self.ending)
        except RestError as error:
            self._requests.refused(error, exchange)
            await refuse_stream(error, exchange, send, is_own_page=is_own)
        except StreamClosed as closed:
            await send(close_message(closed))
        except asyncio.CancelledError:
            reason = exchange.why_ended()
            if isinstance(reason, StreamClosed):
                await send(close_message(reason))
        except OSError:  # from uvicorn, when it writes to a disconnected client
            pass
        except Exception as error:  # noqa: BLE001 - the close reason contains an error ID, and the gateway continues
            await send(close_message(StreamClosed(1011, str(self._defect(exchange, error)))))
        finally:
            self.streams.discard(stream)

    async def _check_stream(self, exchange: Exchange, *, is_own: bool) -> None:
        if not is_own:
            raise RestError(
                403, "the page's origin is not allowed; start with --allow-host (rnnserve serve: --http-allow-host)"
            )
        entry = await self._admit(exchange)
        if entry.name != "stream":
            raise RestError(404, "this path does not accept WebSockets; use /v2/models/{model}/stream")
        if len(self.streams) >= self._limits.max_streams:
            words = f"{self._limits.max_streams:,} streams are open: close some, or try again later"
            raise RestError(429, words, headers={"retry-after": "1"})

    def _defect(self, exchange: Exchange, error: Exception) -> RestError:
        """Log an internal error under a new ID, and return a RestError that contains the ID."""
        defect = secrets.token_hex(4)
        _log.error("internal error %s, request %s", defect, exchange.request_id, exc_info=error)
        return RestError(500, f"internal error {defect}: the log of the HTTP gateway has the details")

    def _refuse(self, exchange: Exchange, error: RestError) -> Answer:
        """Count and log a refused request, and return its error response.

        The content type is exactly application/json, because KServe's client ignores error messages of other types.
        """
        self._requests.refused(error, exchange)
        return json_answer({"error": str(error), "id": exchange.request_id}, error.status, error.headers)

    async def _send(self, exchange: Exchange, send: Send, answer: Answer) -> None:
        body = answer.body
        headers = {"content-type": answer.content_type, "x-request-id": exchange.request_id, **answer.headers}
        headers["content-length"] = str(len(body))
        if self.ending.is_set():
            headers["connection"] = "close"
        if len(body) <= _PIECE_BYTES and "connection" not in headers:
            lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
            if write_answer(exchange.receive, answer.status, lines.encode("latin-1"), body):
                return
        fields = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        start: dict[str, Any] = {"type": "http.response.start", "status": answer.status, "headers": fields}
        try:
            exchange.wait_for_client("writing")
            await send(start)
            if exchange.scope["method"] == "HEAD":
                body = b""
            for at in range(0, max(len(body), 1), _PIECE_BYTES):
                piece = body[at : at + _PIECE_BYTES]
                exchange.wait_for_client("writing")
                await send({"type": "http.response.body", "body": piece, "more_body": at + len(piece) < len(body)})
        except asyncio.CancelledError:
            exchange.why_ended()
            raise ClientGone from None
