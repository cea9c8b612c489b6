"""The attacks: each is a function of the front's port that goes on for some seconds, and gives what was answered."""

import asyncio
import functools
import gzip
import json
import socket
from collections import Counter
from collections.abc import Callable

import numpy as np

from campaigns.drills.http.crowd import Crowd

__all__ = ["ATTACKS", "CONNECTIONS", "INFER", "JSON_16_MIB", "post"]

SECONDS = 4.0
CONNECTIONS = {"idle": 10_000, "slow_heads": 3000, "slow_bodies": 3000, "slow_readers": 500, "large_heads": 4000}
"""By attack, how many it needs, where it needs many."""

INFER = b"POST /v2/models/direction_simple/infer HTTP/1.1\r\nHost: localhost\r\n"
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n"


def _infer_body(data: bytes, shape: list[int], **more: object) -> bytes:
    head = {"name": "input", "datatype": "FP32", "shape": shape}
    tail = json.dumps({"outputs": [{"name": "logits"}], **more})[1:].encode()
    return b'{"inputs":[%s,"data":%s}],%s' % (json.dumps(head)[:-1].encode(), data, tail)


def post(body: bytes, *fields: bytes) -> bytes:
    """Write a request for an inference, with its body."""
    head = [INFER + b"Connection: close", *fields, b"Content-Length: %d" % len(body), b"", b""]
    return b"\r\n".join(head) + body


@functools.cache
def _json(rows: int) -> bytes:
    """Walks of 4,000 points each, as clients write them: lists in lists, some 20 digits a number."""
    walks = np.random.default_rng(0).normal(size=(rows, 4000, 2)).tolist()
    return _infer_body(json.dumps(walks).encode(), [rows, 4000, 2])


JSON_16_MIB = functools.partial(_json, 96)


def idle(port: int) -> Counter[int | str]:
    """Ten thousand connections that send nothing."""

    async def work(crowd: Crowd, connection: socket.socket) -> None:
        await crowd.read_all(connection)

    return _run(port, CONNECTIONS["idle"], work, seconds=8.0)


def slow_heads(port: int) -> Counter[int | str]:
    """Heads that come a field a second (slowhttptest -H)."""

    async def work(crowd: Crowd, connection: socket.socket) -> None:
        await crowd.send(connection, LIVE)
        while True:
            await crowd.send(connection, b"X-a: b\r\n")
            await asyncio.sleep(1)

    return _run(port, CONNECTIONS["slow_heads"], work)


def slow_bodies(port: int) -> Counter[int | str]:
    """Bodies of a MiB that come some bytes a second (slowhttptest -B)."""

    async def work(crowd: Crowd, connection: socket.socket) -> None:
        await crowd.send(connection, INFER + b"Content-Length: 1048576\r\n\r\n")
        while True:
            await crowd.send(connection, b"x=y&")
            await asyncio.sleep(1)

    return _run(port, CONNECTIONS["slow_bodies"], work)


def slow_readers(port: int) -> Counter[int | str]:
    """Answers that are read a byte at a time, each of several requests (slowhttptest -X)."""

    async def work(crowd: Crowd, connection: socket.socket) -> None:
        await crowd.send(connection, b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 10)
        while await crowd.read(connection, 1):
            await asyncio.sleep(0.1)

    return _run(port, CONNECTIONS["slow_readers"], work, window=4096)


def large_heads(port: int) -> Counter[int | str]:
    """Four thousand heads of almost all the bytes that one may have, without an end."""
    fields = b"".join(b"X-%02d: %s\r\n" % (index, b"a" * 300) for index in range(98))

    async def work(crowd: Crowd, connection: socket.socket) -> None:
        await crowd.send(connection, LIVE + fields)
        await crowd.read_all(connection)

    return _run(port, CONNECTIONS["large_heads"], work)


def pipelining(port: int) -> Counter[int | str]:
    """Ten thousand requests at once on each of fifty connections, which are closed."""

    async def work(crowd: Crowd, connection: socket.socket) -> None:
        await crowd.send(connection, (LIVE + b"\r\n") * 10_000)
        await asyncio.sleep(SECONDS)

    return _run(port, 50, work, window=4096)


def gzip_bombs(port: int) -> Counter[int | str]:
    """Fifty clients with 32 KiB each that become 32 MiB, again and again."""
    bomb = post(gzip.compress(bytes(32 << 20), 9), b"Content-Encoding: gzip")
    return _run(port, 50, functools.partial(_again_and_again, bomb))


def posts_of_16_mib(port: int) -> Counter[int | str]:
    """Two clients that post 16 MiB of JSON, one after another."""
    return _run(port, 2, functools.partial(_again_and_again, post(JSON_16_MIB())), seconds=10.0)


def large_answers_in_json(port: int) -> Counter[int | str]:
    """Four clients whose answers are 5 MB of tensors each, in JSON, and read slowly."""
    body = _infer_body(json.dumps([[[1.5, -1.5]] * 4000] * 20).encode(), [20, 4000, 2], outputs=[{"name": "output"}])

    async def work(crowd: Crowd, connection: socket.socket) -> None:
        await crowd.send(connection, post(body))
        while await crowd.read(connection, 1 << 10):
            await asyncio.sleep(0.01)

    return _run(port, 4, work, window=4096)


def hostile_json(port: int) -> Counter[int | str]:
    """Depth, empty lists, NaN, and a number without an end, some MiB each."""
    size = 4 << 20
    data = [
        b"[" * size + b"]" * size,
        b"[" + b"[]," * size + b"[]]",
        b"[" + b"NaN," * size + b"1]",
        b"1" * size,
        b"[" + b"{}," * (size // 8) + b"1]",
        b'["' + b"\\u0000" * (size // 8) + b'"]',
    ]
    bodies = [post(_infer_body(each, [1])) for each in data]

    async def work(crowd: Crowd, connection: socket.socket) -> None:
        await crowd.send(connection, bodies.pop())
        await crowd.read_all(connection)

    return _run(port, len(bodies), work, seconds=20.0)


def json_of_a_megabyte(port: int) -> Counter[int | str]:
    """A hundred clients with just less JSON than goes to another process, of small lists."""
    body = post(_infer_body(b"[" + b"[]," * 330_000 + b"[]]", [1]))
    return _run(port, 100, functools.partial(_again_and_again, body))


def malformed_requests(port: int) -> Counter[int | str]:
    """Content-Length beside Transfer-Encoding, encoded slashes, two Hosts, and other heads that mean several things."""
    requests = [
        INFER + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /v2/models/..%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /v2/models/%2e%2e/%2e%2e HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /v2 HTTP/1.1\nHost: a\n\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        INFER + b"Transfer-Encoding: chunked\r\n\r\nfffffffff\r\n",
        post(b"{}", b"Origin: http://["),
        post(b"{}", b"Authorization: Bearer " + b"a" * 20_000),
    ]

    async def work(crowd: Crowd, connection: socket.socket) -> None:
        await crowd.send(connection, requests[crowd.said.total() % len(requests)])
        connection.shutdown(socket.SHUT_WR)
        await crowd.read_all(connection)

    return _run(port, 2000, work)


def names_of_models(port: int) -> Counter[int | str]:
    """Ten thousand names of models that there are not."""
    names = iter(range(10_000))

    async def work(crowd: Crowd, connection: socket.socket) -> None:
        for name in names:
            path = b"/v2/models/m%d%s" % (name, b"a" * 200)
            await crowd.send(connection, b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)
            said = await crowd.read(connection)
            crowd.said[int(said[9:12])] += 1

    return _run(port, 16, work, seconds=60.0)


def resets(port: int) -> Counter[int | str]:
    """Connections that are reset while their requests are answered."""
    body = post(_infer_body(json.dumps([[[1.5, -1.5]] * 100] * 20).encode(), [20, 100, 2]))

    async def work(crowd: Crowd, connection: socket.socket) -> None:
        await crowd.send(connection, body)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    return _run(port, 3000, work)


async def _again_and_again(request: bytes, crowd: Crowd, connection: socket.socket) -> None:
    """Send a request that closes; then on a new connection, until the time is over."""
    address = connection.getpeername()
    await _once(request, crowd, connection)
    while True:
        with socket.socket() as another:
            another.setblocking(False)
            await asyncio.get_running_loop().sock_connect(another, address)
            await _once(request, crowd, another)


async def _once(request: bytes, crowd: Crowd, connection: socket.socket) -> None:
    sending = asyncio.create_task(crowd.send(connection, request))
    try:
        await crowd.read_all(connection)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


def _run(port: int, count: int, work: object, *, seconds: float = SECONDS, window: int = 0) -> Counter[int | str]:
    crowd = Crowd(port, seconds)
    crowd.run(count, work, window)  # type: ignore[arg-type]  # a function of a crowd and a connection
    return crowd.said


ATTACKS: dict[str, Callable[[int], Counter[int | str]]] = {
    function.__name__: function
    for function in (
        idle, slow_heads, slow_bodies, slow_readers, large_heads, pipelining, gzip_bombs, posts_of_16_mib,
        large_answers_in_json, hostile_json, json_of_a_megabyte, malformed_requests, names_of_models,
        resets,
    )
}  # fmt: skip
