"""What the front counts: connections that it ends, handshakes that fail, requests that it refuses itself."""

import asyncio
import contextlib
import ssl

import pytest
import uvloop

from kit.certificates import write_certificates
from rnnserve.common.gateway_counts import (
    ENDED,
    REFUSED,
    TLS_RELOADS,
    GatewayCounts,
    use_gateway_counts,
    used_gateway_counts,
)
from rnnserve.web.app.request_log import RequestLog, RequestWords
from rnnserve.web.errors import RestError
from rnnserve.web.http1.connection_table import ConnectionTable
from rnnserve.web.http1.limits import HttpLimits
from rnnserve.web.http1.refusals import refusal
from rnnserve.web.http1.tls_handshakes import count_failed_handshakes


@pytest.fixture
def counted():
    """Gives what has been counted."""
    before = used_gateway_counts()
    use_gateway_counts(counts := GatewayCounts())
    names = REFUSED | ENDED | TLS_RELOADS
    yield lambda: {name: counts.numbers()[place] for name, place in names.items() if counts.numbers()[place]}
    use_gateway_counts(before)


class Connection:
    def __init__(self, is_late=False):
        self._is_late = is_late

    def is_late(self, _):
        return self._is_late

    def end_late(self):
        pass

    give_way = end_late


def test_connections_that_are_ended(counted):
    loop = asyncio.new_event_loop()
    table = ConnectionTable(HttpLimits(max_connections=2))
    first, late, third = Connection(), Connection(is_late=True), Connection()
    assert table.admit(first, loop)
    assert table.admit(late, loop)
    assert table.admit(third, loop)  # the first gives way
    assert counted() == {"gave_way": 1}
    for busy in (late, third):
        table.work(busy)
    assert not table.admit(Connection(), loop)
    table._look(loop)
    assert counted() == {"gave_way": 1, "too_many": 1, "late": 1}
    loop.close()


def test_requests_that_the_front_refuses_and_no_others(counted):
    log, words = RequestLog(), RequestWords("id", "POST", "/v2", ("127.0.0.1", 1))
    log.refused(RestError(400, "no JSON"), words)
    log.refused(RestError(429, "full", is_of_server=True), words)
    refusal(431, "the head is too large", None)
    assert counted() == {"400": 1, "431": 1}


def test_handshakes_that_fail(counted, tmp_path):
    files = write_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.server, files.key(files.server))
    count_failed_handshakes(context)
    trusting = ssl.create_default_context(cafile=files.ca)
    ca = str(files.other_ca)

    async def talk():
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        async with server:
            reader, writer = await asyncio.open_connection("localhost", port, ssl=trusting)
            await reader.read()
            writer.close()
            assert counted() == {}
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()
            with pytest.raises(ssl.SSLError):  # asyncio's own client would say nothing before it closes
                await asyncio.to_thread(ssl.get_server_certificate, ("localhost", port), ssl.PROTOCOL_TLS_CLIENT, ca)
            async with asyncio.timeout(20):
                while counted() != {"tls_handshake": 2}:
                    await asyncio.sleep(0.01)

    uvloop.run(talk())
