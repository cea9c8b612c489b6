"""`/metrics` passes on the server's answer, whole, and returns 503 if there is none."""

import asyncio
import types
from typing import Any

import pytest

from rnnserve.web.app.metrics import metrics
from rnnserve.web.errors import RestError
from rnnserve.web.upstream.upstream import CallContext

TEXT = b"a 1\n" * 300_000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: %d\r\n\r\n"


async def ask(socket):
    told = (("x-request-id", "1"), ("authorization", "Bearer a"), ("rnnserve-peer", "ipv4:10.0.0.1:5"))
    exchange: Any = types.SimpleNamespace(context=lambda: CallContext(told))
    return await metrics(socket, exchange)


def answer(socket, said):
    async def run():
        async def serve(reader, writer):
            asked = await reader.readuntil(b"\r\n\r\n")
            assert b"\r\nauthorization: Bearer a\r\nrnnserve-peer: ipv4:10.0.0.1:5\r\n\r\n" in asked
            assert b"x-request-id" not in asked
            writer.write(said)
            await writer.drain()
            writer.close()

        async with await asyncio.start_unix_server(serve, socket):
            return await ask(socket)

    return asyncio.run(run())


def test_scrape_is_passed_on(tmp_path):
    got = answer(tmp_path / "metrics", HEAD % len(TEXT) + TEXT)
    assert (got.status, got.content_type, got.body) == (200, "text/plain; version=0.0.4", TEXT)


@pytest.mark.parametrize(
    "said",
    [b"", b"HTTP/1.1 500 No\r\n\r\n", HEAD % 5 + b"abc", b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nabc"],
)
def test_incomplete_answer_is_503(tmp_path, said):
    with pytest.raises(RestError) as caught:
        answer(tmp_path / "metrics", said)
    assert caught.value.status == 503


@pytest.mark.parametrize(("status", "headers"), [(401, {"www-authenticate": "Bearer"}), (403, {})])
def test_refusal_is_passed_on(tmp_path, status, headers):
    with pytest.raises(RestError, match="no scraper of ours") as caught:
        answer(tmp_path / "metrics", (HEAD % 18 + b"no scraper of ours").replace(b"200 OK", b"%d No" % status))
    assert (caught.value.status, caught.value.headers) == (status, headers)


def test_missing_server_is_404_or_503(tmp_path):
    for socket, status in ((None, 404), (tmp_path / "nothing", 503)):
        with pytest.raises(RestError) as caught:
            asyncio.run(ask(socket))
        assert caught.value.status == status
