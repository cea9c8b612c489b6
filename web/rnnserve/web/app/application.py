"""The ASGI application."""

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.routing import Match, Route, Router
from starlette.types import Receive, Scope, Send

from rnnserve.protos.access_table import rows_missing
from rnnserve.web.app.access import FrontAccess
from rnnserve.web.app.bodies import BodyReader, ClientGone
from rnnserve.web.app.direct_infer import DirectInfer
from rnnserve.web.app.edge import check_host, check_origin, check_path, defect_of, error_answer, request_id_of
from rnnserve.web.app.exchange import Answer, Exchange
from rnnserve.web.app.http_spans import HttpSpans
from rnnserve.web.app.large_bodies import beside_loop
from rnnserve.web.app.request_log import RequestLog, words_of
from rnnserve.web.app.routes import Handler, RouteEntry
from rnnserve.web.errors import RestError
from rnnserve.web.rest.compression import choose_coding, compress
from rnnserve.web.scope_keys import GONE
from rnnserve.web.upstream.upstream import Upstream

__all__ = ["Application", "FrontLimits"]

_MESSAGES = {404: "Not Found", 405: "Method Not Allowed"}


@dataclasses.dataclass(frozen=True)
class FrontLimits:
    """Bounds of the front.

    Attributes:
        max_body_bytes: Bytes of a body, as sent and decompressed (`rnnserve web --max-body-bytes`; with `rnnserve
            serve` twice `--max-message-bytes` where that is more). Beyond it: 413.
        max_held_bytes: Bytes of all bodies and large answers in hand, a sixth of it for small bodies. Beyond it: 429;
            bodies that arrive slowly give way (408).
        timeout: Seconds that a request may take at the server (`rnnserve web --timeout`). Beyond it: 504.
        hosts: Names in the header Host, lower case, that are the front's own on a loopback address, beside localhost.
    """

    max_body_bytes: int = 32 << 20
    max_held_bytes: int = 64 << 20
    timeout: float = 60.0
    hosts: frozenset[str] = frozenset()


class Application:
    """Answers every request: by its route, or with an error in JSON.

    Attributes:
        routes: The table that it was made from.
        ending: Set when the front ends: answers that have no end end then.
        direct: Answers most inference requests at once, before any of this.
    """

    def __init__(
        self,
        upstream: Upstream,
        routes: Iterable[RouteEntry],
        limits: FrontLimits | None = None,
        *,
        requests: RequestLog | None = None,
        spans: HttpSpans | None = None,
        access: FrontAccess | None = None,
    ) -> None:
        """Prepare.

        Args:
            upstream: The server.
            routes: The first that fits answers.
            limits: Bounds; None for the usual ones.
            requests: Log of requests; None for the usual one.
            spans: Maker of spans; None where there are to be none.
            access: Questions to the server, whether clients may ask for their routes; None where all may.

        Raises:
            ValueError: If nothing says who may ask for a route.
        """
        self.routes = tuple(routes)
        if missing := rows_missing(entry.name for entry in self.routes):
            raise ValueError(f"nothing says who may ask for {', '.join(missing)}: rnnserve/protos/access_table.py")
        self._access = access
        self.ending = asyncio.Event()
        self._limits = limits or FrontLimits()
        self._upstream = upstream
        self._requests = requests or RequestLog()
        self._spans = spans
        self._bodies = BodyReader(self._limits.max_body_bytes, self._limits.max_held_bytes)
        self.direct = DirectInfer(
            upstream,
            self._bodies,
            self._limits.hosts,
            self._limits.timeout,
            self._requests,
            is_traced=spans is not None,
            access=access,
        )
        self._routes = [
            Route(entry.path, _Endpoint(self, entry), methods=list(entry.handlers), name=entry.name)
            for entry in self.routes
        ]
        # No redirects: a POST that is sent again to another path is a request that no one has meant.
        self._router = Router(self._routes, redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; no other kind of scope is for this application."""
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        scope["rnnserve.id"] = request_id = scope.get("rnnserve.id") or request_id_of(headers)
        scope["rnnserve.ending"] = self.ending
        scope["app"] = self  # so that Starlette raises what it would answer in plain text
        span = None if self._spans is None else self._spans.begin(scope)
        try:
            check_path(scope["raw_path"])
            check_host(headers, scope.get("server"), self._limits.hosts)
            check_origin(scope["method"], headers)
            if scope["method"] == "OPTIONS":
                await self.send(scope, send, await self._options(scope, receive))
            else:
                await self._router(scope, receive, send)
        except RestError as error:
            await self._refuse(scope, send, error)
        except HTTPException as error:
            said = RestError(error.status_code, _MESSAGES.get(error.status_code, error.detail), headers=error.headers)
            await self._refuse(scope, send, said)
        except ClientGone:
            pass
        except asyncio.CancelledError:
            if not scope.get(GONE):
                raise
        except Exception as error:  # noqa: BLE001 - a defect is told by its id, and leaves the front as it was
            await self._refuse(scope, send, defect_of(request_id, error))
        finally:
            self._bodies.let_go(scope)
            if span is not None and self._spans is not None:
                self._spans.end(span, scope)

    async def answer(self, entry: RouteEntry, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that has found its route."""
        method: str = scope["method"]
        handler: Handler = entry.handlers["GET" if method == "HEAD" else method]
        scope["rnnserve.compresses"] = entry.is_compressed
        exchange = self._exchange(scope, receive)
        if self._access is not None:
            await self._access.check(entry.name, exchange)
        answer = await handler(exchange)
        await self.send(scope, send, answer)
        if self._requests.wants_answers:
            self._requests.answered(answer.status, words_of(scope))

    def _exchange(self, scope: Scope, receive: Receive) -> Exchange:
        request_id: str = scope["rnnserve.id"]
        return Exchange(scope, receive, request_id, self._upstream, self._bodies, self._limits.timeout)

    async def _refuse(self, scope: Scope, send: Send, error: RestError) -> None:
        """Tell of a request that is refused, and answer it so."""
        self._requests.refused(error, words_of(scope))
        await self.send(scope, send, error_answer(error, scope["rnnserve.id"]))

    async def send(self, scope: Scope, send: Send, answer: Answer) -> None:
        """Send an answer, compressed where the client asks for that, or events as they come."""
        headers = answer.fields(scope["rnnserve.id"])
        scope["rnnserve.status"] = answer.status
        start: MutableMapping[str, Any] = {"type": "http.response.start", "status": answer.status, "headers": headers}
        if answer.status >= 400 and not scope.get("rnnserve.read") and _has_body(scope):
            headers.append((b"connection", b"close"))  # what is left of the request is not read
        if answer.events is not None and scope["method"] != "HEAD":
            await send(start)
            async with contextlib.aclosing(answer.events) as events:  # what it holds is let go now
                async for event in events:
                    await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        body = answer.body
        coding = _coding_asked(scope) if answer.status == 200 and scope["rnnserve.compresses"] else ""
        if coding and (compressed := await beside_loop(len(body), compress, body, coding)) is not None:
            body = compressed
            headers.append((b"content-encoding", coding.encode()))
        headers.append((b"content-length", str(len(body)).encode()))
        await send(start)
        await send({"type": "http.response.body", "body": body})

    async def _options(self, scope: Scope, receive: Receive) -> Answer:
        """Say which methods a path has."""
        methods = {"OPTIONS"}
        for route in self._routes:
            match, found = route.matches(scope)
            if match is not Match.NONE:
                methods |= route.methods or set()
                if self._access is not None:
                    await self._access.check(route.name, self._exchange({**scope, **found}, receive))
                break
        if methods == {"OPTIONS"} and scope["raw_path"] != b"*":
            raise RestError(404, _MESSAGES[404])
        return Answer(status=204, headers={"allow": ", ".join(sorted(methods))})


class _Endpoint:
    """A route's ASGI application."""

    def __init__(self, application: Application, entry: RouteEntry) -> None:
        self._application = application
        self._entry = entry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._application.answer(self._entry, scope, receive, send)


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )


def _coding_asked(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"accept-encoding":
            return choose_coding(value.decode("latin-1"))
    return ""
