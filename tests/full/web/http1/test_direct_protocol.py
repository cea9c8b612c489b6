"""Connections with requests that are answered at once, without sockets: what is in hand, what waits, and what ends."""

import asyncio
from typing import Any, cast

import uvicorn
from uvicorn.server import ServerState

from rnnserve.web.http1.connection_table import ConnectionTable
from rnnserve.web.http1.direct_protocol import DirectProtocol, DirectWay
from rnnserve.web.http1.limits import HttpLimits


def post(path, body, *fields):
    lines = b"".join(b"%s\r\n" % field for field in fields)
    return b"POST %s HTTP/1.1\r\nHost: h\r\n%sContent-Length: %d\r\n\r\n%s" % (path, lines, len(body), body)


async def application(_scope, receive, send):
    """The general way: it answers with what it was sent."""
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


class Transport:
    """Keeps what is written."""

    def __init__(self):
        self.written = b""
        self.is_closed = self.is_paused = False

    def write(self, data):
        self.written += data

    def close(self):
        self.is_closed = True

    def is_closing(self):
        return self.is_closed

    def pause_reading(self):
        self.is_paused = True

    def resume_reading(self):
        self.is_paused = False

    def get_extra_info(self, _):
        return None

    def get_write_buffer_size(self):
        return 0


class Route:
    """Answers /direct at once, when the test says so."""

    method = b"POST"

    def __init__(self):
        self.begun = []
        self.cancelled = 0

    def plan(self, head):
        return head.path if head.path == b"/direct" else None

    def begin(self, _plan, body, _reply):
        self.begun.append(body)
        return self

    def cancel(self):
        self.cancelled += 1


class Connection:
    """A connection that is open."""

    def __init__(self):
        self.transport = Transport()
        self.route, self.state = Route(), ServerState()
        self.state.default_headers = [(b"date", b"one")]
        self.table = ConnectionTable(HttpLimits())
        config = uvicorn.Config(application, ws="none", lifespan="off", log_config=None, access_log=False)
        self.protocol = DirectProtocol(config, self.state, {}, table=self.table, way=DirectWay(self.route))
        self.protocol.connection_made(cast(Any, self.transport))

    def send(self, *pieces):
        for piece in pieces:
            self.protocol.data_received(piece)

    def reply(self, body=b"at once"):
        self.protocol.reply(200, b"content-length: %d\r\n" % len(body), body)

    @property
    def is_waited_for(self):
        return self.protocol in self.table._waiting

    async def until_written(self, text):
        while text not in self.transport.written:
            await asyncio.sleep(0)


def run(test):
    async def within():
        await asyncio.wait_for(test(Connection()), 10)

    asyncio.run(within())


def test_what_follows_a_request_in_hand_waits_and_is_kept_in_order():
    async def test(at):
        at.send(post(b"/direct", b"1"), b"POST /direct HTTP/1.1\r\nHost: h\r\nContent", b"-Length: 1\r\n\r\n2")
        assert at.transport.is_paused
        assert at.route.begun == [b"1"]
        at.reply()
        assert not at.transport.is_paused
        assert at.route.begun == [b"1", b"2"]
        at.send(post(b"/other", b"3") + post(b"/direct", b"4"))
        at.reply(b"second")
        await at.until_written(b"\r\n\r\n4")
        assert [each[-1:] for each in at.transport.written.split(b"HTTP/1.1 ")[1:]] == [b"e", b"d", b"3", b"4"]

    run(test)


def test_what_cannot_be_answered_so_goes_the_general_way_with_what_is_known():
    async def test(at):
        seen = []

        async def noting(scope, receive, send):
            seen.append(scope.get("known"))
            await application(scope, receive, send)

        at.protocol.app = noting
        at.send(post(b"/direct", b"1"), post(b"/direct", b"2"))
        at.protocol.fall_back({"known": 7})
        await at.until_written(b"\r\n\r\n2")
        assert seen == [7, None]

    run(test)


def test_a_client_that_goes_cancels_its_request():
    async def test(at):
        at.send(post(b"/direct", b"1"))
        at.protocol.connection_lost(None)
        assert at.route.cancelled == 1
        at.reply()
        at.protocol.fall_back({})
        assert at.transport.written == b""
        assert len(at.table) == 0

    run(test)
