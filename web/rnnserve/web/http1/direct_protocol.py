"""Requests that are answered at once: without a scope, a task, and a cycle of ASGI of their own.

The general way, through uvicorn's cycle and an ASGI application, costs a request more than all that is done for it
(docs/lab/findings.md, "HTTP in Python"). A request takes this way that arrives whole, on a connection without another
one in hand, and whose head is known to ask for what the application answers at once. Its body goes from here to the
application, and the answer is written by one call. Whatever else comes, and whatever cannot be answered so after all,
goes the general way, byte for byte as it came.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from rnnserve.web.http1.connection_table import ConnectionTable
from rnnserve.web.http1.known_heads import HeadPlanner, KnownHeads
from rnnserve.web.http1.protocol import FrontProtocol
from rnnserve.web.http1.tls_handshakes import shown_certificate
from rnnserve.web.scope_keys import CERTIFICATE

__all__ = ["DirectCall", "DirectProtocol", "DirectReply", "DirectRoute", "DirectWay"]

Plan = TypeVar("Plan")

_HEAD_SECONDS = 0.5
"""For which a head waits for its body: then it goes the general way, which has the bounds for that."""


class DirectReply(Protocol):
    """Takes the answer of a request, on the loop's thread."""

    @property
    def client(self) -> tuple[str, int] | None:
        """Address and port of the client."""

    @property
    def certificate(self) -> str:
        """The certificate that it has shown, in DER and base64; empty for none."""

    def reply(self, status: int, fields: bytes, body: bytes, /) -> None:
        """Write the answer.

        Args:
            status: HTTP status.
            fields: The fields of its head, each with its end of line, Content-Length among them.
            body: All of the body.
        """

    def fall_back(self, known: Mapping[str, object], /) -> None:
        """Have the request answered on the general way.

        Args:
            known: Entries of its scope: what is known of it already.
        """


class DirectCall(Protocol):
    """A request that is being answered."""

    def cancel(self) -> None:
        """Note that the client has gone: there is to be no answer."""


class DirectRoute(HeadPlanner[Plan], Protocol[Plan]):
    """What answers requests at once."""

    def begin(self, plan: Plan, body: bytes, reply: DirectReply, /) -> DirectCall | None:
        """Begin to answer; None where the request is to go the general way. The answer comes in a later turn."""


class DirectWay:
    """What the connections of a process share.

    Attributes:
        route: What answers at once.
        heads: Heads that are known.
    """

    def __init__(self, route: DirectRoute[Any]) -> None:
        """Begin without known heads."""
        self.route = route
        self.heads = KnownHeads(route)
        self._default: list[tuple[bytes, bytes]] = []
        self._written = b""

    def default_fields(self, fields: list[tuple[bytes, bytes]]) -> bytes:
        """Write uvicorn's own fields, such as Date; they are another list each second."""
        if fields is not self._default:
            self._default = fields
            self._written = b"".join(b"%s: %s\r\n" % field for field in fields)
        return self._written


class _NoEvent:
    def set(self) -> None:
        """Wake none: nothing waits."""


class _DirectCycle:
    """A request in hand, in the place of uvicorn's cycle: the connection looks at it likewise."""

    __slots__ = ("call", "data", "disconnected", "keep_alive", "response_complete", "scope")

    body = b""
    more_body = response_started = False
    message_event = _NoEvent()

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.call: DirectCall | None = None
        self.disconnected = self.response_complete = False
        self.keep_alive = True
        self.scope: dict[str, Any] = {}


class DirectProtocol(FrontProtocol):
    """One connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        table: ConnectionTable,
        way: DirectWay,
        tells_certificates: bool = False,
    ) -> None:
        """As uvicorn does; `table` has all connections, and their bounds. Certificates are told where that is asked."""
        super().__init__(config, server_state, app_state, _loop, table=table)
        self._tells_certificates = tells_certificates
        self.certificate = ""  # that the client has shown
        self._way = way
        self._start = way.route.method + b" "
        self._direct: _DirectCycle | None = None
        self._known_head = b""  # a head whose body has not come
        self._later = b""  # what came after the request in hand

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, unless there are too many."""
        if self._tells_certificates:
            self.certificate = shown_certificate(transport)
        super().connection_made(transport)

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        if self.certificate:
            self.scope[CERTIFICATE] = self.certificate  # type: ignore[literal-required]  # for the application

    def data_received(self, data: bytes) -> None:
        """Answer at once what can be; parse all else."""
        if self._direct is not None:
            self._later += data
            self.flow.pause_reading()
            self._count_held()
        elif self._known_head:
            self._take_with_head(data)
        elif (
            data.startswith(self._start)
            and self._is_between_requests
            and (end := data.find(b"\r\n\r\n") + 4) > 3
            and (found := self._way.heads.find(data[:end], self.server)) is not None
        ):
            plan, length = found
            if len(data) == end + length:
                self._begin(plan, data, end)
            elif len(data) == end:
                self._hold(data)
            else:
                super().data_received(data)
        else:
            super().data_received(data)

    def reply(self, status: int, fields: bytes, body: bytes) -> None:
        """Write the answer to the request in hand, and go on to the next one."""
        cycle, self._direct = self._direct, None
        if cycle is None or cycle.disconnected:
            return
        cycle.response_complete = True
        cycle.data = b""
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        default = self._way.default_fields(self.server_state.default_headers)
        self.transport.write(b"".join((STATUS_LINE[status], default, fields, end, body)))
        self.server_state.total_requests += 1
        if not cycle.keep_alive:
            self.transport.close()
            return
        self._wait()
        self._go_on()

    def fall_back(self, known: Mapping[str, object]) -> None:
        """Answer the request in hand on the general way."""
        cycle, self._direct = self._direct, None
        if cycle is None or cycle.disconnected:
            return
        cycle.response_complete = True
        super().data_received(cycle.data)
        self.scope.update(known)  # type: ignore[typeddict-item]  # what the application has put there
        if not cycle.keep_alive:
            super().shutdown()
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let what works on a request for this connection end."""
        cycle, self._direct = self._direct, None
        super().connection_lost(exc)
        self._known_head = self._later = b""
        if cycle is not None and cycle.call is not None:
            cycle.disconnected = True
            cycle.call.cancel()

    def is_late(self, now: float) -> bool:
        """Whether the client has been waited for too long."""
        if self._known_head and now - self._since > _HEAD_SECONDS:
            self.loop.call_soon(self._parse_known_head)  # not now: the table is looking at its connections
        return super().is_late(now)

    def shutdown(self) -> None:
        """End after the request in hand."""
        self._parse_known_head()
        super().shutdown()

    @property
    def _is_between_requests(self) -> bool:
        return not (
            self._head_arrived
            or not self._is_in_head
            or self._is_busy
            or self._is_deaf
            or self._dropped is not None
            or self.flow.write_paused
            or self.transport.is_closing()
        )

    def _hold(self, head: bytes) -> None:
        """Wait for the body: clients write it by a call of its own, and it comes a moment later."""
        self._unset_keepalive_if_required()
        self._known_head = head
        self._wait()

    def _take_with_head(self, data: bytes) -> None:
        """Take what comes after a head: its body, where it is exactly that."""
        head, self._known_head = self._known_head, b""
        found = self._way.heads.find(head, self.server)
        if found is not None and found[1] == len(data):
            self._begin(found[0], head + data, len(head))
        else:
            super().data_received(head)
            super().data_received(data)

    def _begin(self, plan: Any, data: bytes, at: int) -> None:  # noqa: ANN401 - the route's own
        """Have a request answered, whose body begins at a place."""
        call = None if self.transport.is_closing() else self._way.route.begin(plan, data[at:], self)
        if call is None:
            super().data_received(data)
            return
        self._unset_keepalive_if_required()
        cycle = self._direct = self._running = self.cycle = _DirectCycle(data)  # type: ignore[assignment]
        cycle.call = call
        cycle.keep_alive = not self._table.is_ending
        self._table.work(self)

    def _parse_known_head(self) -> None:
        if self._known_head:
            head, self._known_head = self._known_head, b""
            super().data_received(head)

    def _go_on(self) -> None:
        """Take what has come meanwhile."""
        self.flow.resume_reading()
        if self._later:
            later, self._later = self._later, b""
            self._count_held()
            self.data_received(later)

    def _waiting_bytes(self) -> int:
        return super()._waiting_bytes() + len(self._later)
