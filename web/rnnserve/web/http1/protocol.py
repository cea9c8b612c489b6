"""uvicorn's protocol, with the bounds that it lacks.

In uvicorn 0.54 the deadline between two requests ends with any byte; a head, a body and writing have none; heads may
have any size; what is refused is answered in plain text. Its parser, llhttp, is strict; the rest is refused here.
"""

import asyncio
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from rnnserve.web.http1.connection_table import ConnectionTable
from rnnserve.web.http1.cycle_transport import CycleTransport
from rnnserve.web.http1.heads import Refused, check_head, path_of_target
from rnnserve.web.http1.held_bytes import SMALL_BODY, held_bytes
from rnnserve.web.http1.refusals import TOO_LATE, TOO_MANY, refusal
from rnnserve.web.http1.upgrades import parser_of_body
from rnnserve.web.http1.write_progress import WriteProgress
from rnnserve.web.scope_keys import GONE, HALF_CLOSED

__all__ = ["FrontProtocol"]

_HEAD_PIECE, _BODY_PIECE = 4 << 10, 16 << 10
"""Bytes that are parsed at a time: what is parsed cannot be stopped, and 4 KiB may hold 200 requests already."""

_NOTHING = memoryview(b"")


class FrontProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        table: ConnectionTable,
    ) -> None:
        """As uvicorn does; `table` has all connections, and their bounds."""
        super().__init__(config, server_state, app_state, _loop)
        self._table = table
        self._limits = table.limits
        self._since = self.loop.time()  # that the present wait for the client lasts
        self._messages = self._fields = self._head_bytes = self._body_bytes = 0
        self._head_arrived = 0  # bytes of a head that is not whole, about; 0 between requests
        self._beside_arrived = 0  # bytes since the last one of a body: extensions of chunks, fields after it
        self._unparsed = _NOTHING  # requests that follow one that waits
        self._held = 0  # bytes that the table counts for this connection
        self._ended_at: float | None = None  # when the client has closed its half of the connection
        self._refused: Refused | None = None
        self._dropped: int | None = None  # bytes of a refused request that were dropped, while it lingers
        self._is_in_head, self._is_deaf = True, False  # deaf: what comes after the request in hand cannot be read
        self.written = WriteProgress(table.limits)
        self._running: Any = None  # uvicorn's cycle of the request that is answered, or was last
        self._task: asyncio.Task[None] | None = None

    # asyncio's events

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, unless there are too many."""
        super().connection_made(transport)
        if not self._table.admit(self, self.loop):
            transport.write(refusal(503, TOO_MANY, self.client))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let what works on a request for this connection end."""
        self._table.remove(self)
        running, task = self._running, self._task
        super().connection_lost(exc)
        self.pipeline.clear()
        if self._is_busy and task is not None:
            running.disconnected = True
            running.scope[GONE] = True
            task.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived."""
        if self._dropped is not None:
            self._dropped += len(data)
            if self._dropped > self._limits.linger_bytes:
                self.transport.abort()
            return
        if self._is_deaf or self.transport.is_closing():
            return
        if len(data) <= _HEAD_PIECE and not self._unparsed:
            self._unset_keepalive_if_required()
            self._parse(data)
        else:
            self._unparsed = memoryview(bytes(self._unparsed) + data if self._unparsed else data)
            self._parse_on()
        if self._head_arrived or self.pipeline or self._unparsed or self._held or self._body_bytes > SMALL_BODY:
            self._count_held()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Answer what has come whole: the client sends no more. Or it has gone, which looks the same, for a while."""
        if self.scheme == "https" or not (self._unparsed or (self._is_busy and not self._running.more_body)):
            return None
        self._ended_at = self.loop.time()
        if self._is_busy:
            self._running.scope[HALF_CLOSED] = True
        return True

    def pause_writing(self) -> None:
        """Note that the client does not read as fast as is written."""
        super().pause_writing()
        self._table.wait(self)

    def resume_writing(self) -> None:
        """Note that it does again."""
        super().resume_writing()
        if self._is_busy and not self._running.more_body:
            self._table.work(self)

    # The parser's events

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        self._messages += 1
        self._is_in_head = True
        self._head_arrived = 1
        self._head_bytes = self._fields = 0
        if not self._is_busy:
            self._wait()

    def on_url(self, url: bytes) -> None:
        """Take a part of the request line's target."""
        super().on_url(url)
        if len(self.url) > self._limits.url_bytes:
            raise self._refusing(414, f"the path has more than {self._limits.url_bytes:,} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head. Fields after a body are dropped: none of them means anything here."""
        self._fields += 1
        self._head_bytes += len(name) + len(value)
        if self._fields > self._limits.header_fields or self._head_bytes > self._limits.header_bytes:
            limits = self._limits
            said = f"the head has more than {limits.header_fields} fields, or {limits.header_bytes:,} bytes"
            raise self._refusing(431, said)
        if self._is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        self._is_in_head = False
        self._head_arrived = self._body_bytes = 0
        version = self.parser.get_http_version()
        try:
            host = check_head(version, self.headers)
            self.url = path_of_target(self.parser.get_method(), self.url, host)
        except Refused as refused:
            self._refused = refused
            raise
        if version == "1.0":
            self.expect_100_continue = False  # such a client reads no 100 Continue
        super().on_headers_complete()
        cycle: Any = self.cycle
        cycle.transport = CycleTransport(self, cycle)
        if self._table.is_ending:
            cycle.keep_alive = False
        if self._running is cycle:
            self._wait()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that all of the request has arrived: the client waits now."""
        super().on_message_complete()
        self._is_in_head = True
        if self._is_busy and self._running is self.cycle:
            self._table.work(self)
            if self.flow.read_paused and not self._unparsed:
                self.flow.resume_reading()  # else that the client goes is not told

    def on_response_complete(self) -> None:
        """Wait for the next request, or answer the one that came with this one."""
        running = self._running
        running.transport.flush()
        if running.more_body:
            self.linger()  # what is left of the request is not read
            return
        super().on_response_complete()
        if self._unparsed:
            self._parse_on()
        if self._held:
            self._count_held()
        if self._running is running:
            self._wait()
        if self._ended_at is not None:
            self._ended_at = self.loop.time()
            if not self._is_busy:
                self.transport.close()

    def close_after_answer(self) -> None:
        """Close the connection after the answer to the request in flight; one that is idle stays as it is."""
        if self._is_busy:
            self._running.keep_alive = False

    # uvicorn's

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:  # noqa: ANN401 - uvicorn's own
        self._running = cycle
        task = self._task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    # The table's

    def is_late(self, now: float) -> bool:
        """Whether the client has been waited for too long."""
        if self.written.is_late(self.transport.get_write_buffer_size(), now):
            return True
        limits = self._limits
        if self._ended_at is not None and self._is_busy:
            return now - self._ended_at > limits.half_closed_seconds
        waited = now - self._since
        if self._dropped is not None:
            return waited > limits.linger_seconds
        if self._is_busy:
            if self._running.more_body and self._running is self.cycle:
                return waited > limits.body_seconds + self._body_bytes / limits.body_rate
            return False
        is_idle = not self._head_arrived and self._running is not None
        return waited > (limits.keep_alive_seconds if is_idle else limits.header_seconds)

    def end_late(self) -> None:
        """End the connection: with a word, where the client has begun a request and reads."""
        has_begun = not self._running.response_started if self._is_busy else self._head_arrived > 0
        if self.written.has_backlog or self._ended_at or self._dropped is not None:
            self.transport.abort()
        elif has_begun and not self.transport.is_closing():
            self.transport.write(refusal(408, TOO_LATE, self.client))
        self.transport.close()

    def give_way(self) -> None:
        """End the connection for the sake of another."""
        self.transport.abort()

    def linger(self) -> None:
        """Close, once the client had the time to read the answer: what it still sends is dropped meanwhile.

        Where a socket is closed that has unread bytes, the kernel resets the connection, and with it the answer.
        """
        if self.transport.is_closing() or self._dropped is not None:
            return
        self._dropped = 0
        self.pipeline.clear()
        self._unparsed = _NOTHING
        self._wait()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    @property
    def _is_busy(self) -> bool:
        """Whether a request is in hand: at least its head has come, and its answer is not complete."""
        return self._running is not None and not self._running.response_complete

    def _parse(self, data: bytes | memoryview) -> None:
        messages, body_bytes = self._messages, self._body_bytes
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(self._refused or Refused(400, f"this is no HTTP request that can be read: {error}"))
            return
        most = self._limits.header_bytes
        if not self._is_in_head:
            has_come = messages != self._messages or body_bytes != self._body_bytes
            self._beside_arrived = 0 if has_come else self._beside_arrived + len(data)
            if self._beside_arrived > most:
                self._refuse(Refused(431, f"more than {most:,} bytes come between two of the body, or after it"))
        elif self._head_arrived:
            self._head_arrived = len(data) + (self._head_arrived if messages == self._messages else 0)
            if self._head_arrived > most:
                self._refuse(Refused(431, f"the head has more than {most:,} bytes"))

    def _decline(self, rest: bytes | memoryview) -> None:
        """Answer a request that offers another protocol as if it did not; nothing that follows it is read."""
        parser = parser_of_body(self.headers, self)
        if parser is None:
            self._hear_no_more()
            return
        self.parser = parser
        cycle: Any = self.cycle
        cycle.more_body, cycle.keep_alive = True, False
        self._is_in_head = False
        if self._running is cycle:
            self._wait()
        self._parse(rest)

    def _parse_on(self) -> None:
        """Parse what has arrived, up to a request that waits for one before it: what follows stays as it is."""
        self._unset_keepalive_if_required()
        while self._unparsed and not self.pipeline and not self._is_deaf and not self.transport.is_closing():
            size = _HEAD_PIECE if self._is_in_head else _BODY_PIECE
            piece, self._unparsed = self._unparsed[:size], self._unparsed[size:]
            self._parse(piece)
        if self._unparsed:
            self.flow.pause_reading()

    def _count_held(self) -> None:
        """Have the table count what this connection holds, apart from the request that is answered."""
        body = len(self._running.body) if self._is_busy else 0
        size = held_bytes(self._waiting_bytes(), self._head_arrived, self._fields, self.pipeline, body)
        if size != self._held:
            self._held = size
            self._table.hold(self, size)

    def _waiting_bytes(self) -> int:
        """Bytes that have come, and are not parsed."""
        return len(self._unparsed)

    def _wait(self) -> None:
        self._since = self.loop.time()
        self._table.wait(self)

    def _refusing(self, status: int, message: str) -> Refused:
        self._refused = refused = Refused(status, message)
        return refused

    def _refuse(self, refused: Refused) -> None:
        """Answer in the place of the application, and close; a request that came whole before is answered first."""
        running = self._running
        if self._is_busy:
            if not running.more_body:
                self._hear_no_more()
                return
            if running.response_started:
                self.transport.abort()
                return
            running.disconnected = True  # what it would say is too late
            running.message_event.set()
        self.transport.write(refusal(refused.status, str(refused), self.client))
        self.linger()

    def _hear_no_more(self) -> None:
        """Answer the requests that have come whole, and close."""
        self._is_deaf = True
        self._unparsed = _NOTHING
        if self.pipeline and self.pipeline[0][0].more_body:
            self.pipeline.popleft()  # the newest; the rest of it cannot be read
        if self._is_busy:
            last = self.pipeline[0][0] if self.pipeline else self._running
            last.keep_alive = False
        else:
            self.transport.close()
