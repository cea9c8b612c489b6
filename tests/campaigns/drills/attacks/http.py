"""Attacks on the HTTP gateway. Each uses many connections for some seconds."""

import asyncio
import contextlib
import dataclasses
import functools
import gzip
import itertools
import json
import resource
import socket
from collections import Counter
from collections.abc import Awaitable, Callable

import numpy as np

_A_SECOND = 1500
"""Connections that are made a second, as slowhttptest makes them. Far more at once fill the kernel's list of those that
wait to be accepted, of 4,096: then it answers a bystander's connection after 1 s, or 3 s, whatever the server does."""


def may_open(count: int) -> bool:
    """Whether this process can open so many descriptors. Raises the soft limit if necessary."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 200
    if soft < wanted and (hard == resource.RLIM_INFINITY or hard >= wanted):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return soft >= wanted


class Crowd:
    """The connections of an attack, on one loop.

    Attributes:
        said: Received statuses, "closed" if none was received, or the connection's error.
        numbers: 0, 1, 2, … for connections with different tasks.
    """

    def __init__(self) -> None:
        self.said: Counter[int | str] = Counter()
        self.numbers = itertools.count()

    async def send(self, connection: socket.socket, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(connection, data)

    async def read(self, connection: socket.socket, size: int = 1 << 16) -> bytes:
        """Read some bytes. Empty at the end."""
        return await asyncio.get_running_loop().sock_recv(connection, size)

    async def read_all(self, connection: socket.socket) -> None:
        """Read until the connection ends, and count the answers."""
        said = b""
        with contextlib.suppress(ConnectionError):
            while piece := await self.read(connection):
                said += piece if len(said) < 1 << 20 else b""
        lines = [line[9:12] for line in said.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
        self.said.update(int(status) for status in lines if status.isdigit())
        if not lines:
            self.said["closed"] += 1

    async def post_again_and_again(self, request: bytes, connection: socket.socket) -> None:
        """Send requests until the time is over, each on a new connection that the request closes."""
        address = connection.getpeername()
        with contextlib.ExitStack() as stack:
            while True:
                sending = asyncio.create_task(self.send(connection, request))
                try:
                    await self.read_all(connection)
                finally:
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)
                stack.close()
                connection = stack.enter_context(socket.socket())
                connection.setblocking(False)
                await asyncio.get_running_loop().sock_connect(connection, address)


Work = Callable[[Crowd, socket.socket], Awaitable[None]]


@dataclasses.dataclass(frozen=True)
class HttpAttack:
    """An attack by many simultaneous connections.

    Attributes:
        name: The attack's name.
        work: Uses one connection. It may close the connection.
        count: Number of connections.
        seconds: Duration after all connections are open. They are closed afterwards.
        window: Size of the receive buffer in bytes; 0 for the system's default.
    """

    name: str
    work: Work
    count: int
    seconds: float
    window: int

    def run(self, port: int) -> Counter[int | str]:
        """Attack a gateway, and return the answers."""
        crowd = Crowd()
        asyncio.run(self._run(port, crowd))
        return crowd.said

    async def _run(self, port: int, crowd: Crowd) -> None:
        async def one(number: int) -> None:
            await asyncio.sleep(number / _A_SECOND)
            with socket.socket() as connection:
                connection.setblocking(False)
                if self.window:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.window)
                try:
                    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
                    await self.work(crowd, connection)
                except OSError as error:
                    crowd.said[type(error).__name__] += 1

        tasks = [asyncio.create_task(one(number)) for number in range(self.count)]
        _, late = await asyncio.wait(tasks, timeout=self.seconds + self.count / _A_SECOND)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


ATTACKS: list[HttpAttack] = []


def _attack(count: int, *, seconds: float = 4.0, window: int = 0) -> Callable[[Work], Work]:
    def register(work: Work) -> Work:
        ATTACKS.append(HttpAttack(work.__name__, work, count, seconds, window))
        return work

    return register


INFER = b"POST /v2/models/direction_simple/infer HTTP/1.1\r\nHost: localhost\r\n"
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n"


def _infer_body(data: bytes, shape: list[int], **more: object) -> bytes:
    head = {"name": "input", "datatype": "FP32", "shape": shape}
    tail = json.dumps({"outputs": [{"name": "logits"}], **more})[1:].encode()
    return b'{"inputs":[%s,"data":%s}],%s' % (json.dumps(head)[:-1].encode(), data, tail)


def _post(body: bytes, *fields: bytes) -> bytes:
    """Write an inference request with its body."""
    head = [INFER + b"Connection: close", *fields, b"Content-Length: %d" % len(body), b"", b""]
    return b"\r\n".join(head) + body


@functools.cache
def post_of_16_mib() -> bytes:
    """96 walks of 4,000 points, written like clients do: nested lists, with about 20 digits per number."""
    walks = np.random.default_rng(0).normal(size=(96, 4000, 2)).tolist()
    return _post(_infer_body(json.dumps(walks).encode(), [96, 4000, 2]))


@functools.cache
def _bomb() -> bytes:
    """32 KiB that decompress to 32 MiB."""
    return _post(gzip.compress(bytes(32 << 20), 9), b"Content-Encoding: gzip")


@functools.cache
def _hostile_json() -> list[bytes]:
    """Deep nesting, empty lists, NaN, and an endless number, some MiB each."""
    size = 4 << 20
    data = [
        b"[" * size + b"]" * size,
        b"[" + b"[]," * size + b"[]]",
        b"[" + b"NaN," * size + b"1]",
        b"1" * size,
        b"[" + b"{}," * (size // 8) + b"1]",
        b'["' + b"\\u0000" * (size // 8) + b'"]',
    ]
    return [_post(_infer_body(each, [1])) for each in data]


_SMALL_LISTS = _post(_infer_body(b"[" + b"[]," * 330_000 + b"[]]", [1]))
"""Just less JSON than goes to another process."""

_LARGE_HEAD = LIVE + b"".join(b"X-%02d: %s\r\n" % (index, b"a" * 300) for index in range(98))
"""Almost all the bytes that a head may have, without an end."""

_MALFORMED = [
    INFER + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /v2/models/..%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET /v2/models/%2e%2e/%2e%2e HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /v2 HTTP/1.1\nHost: a\n\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    INFER + b"Transfer-Encoding: chunked\r\n\r\nfffffffff\r\n",
    _post(b"{}", b"Origin: http://["),
    _post(b"{}", b"Authorization: Bearer " + b"a" * 20_000),
]
"""Content-Length beside Transfer-Encoding, encoded slashes, two Hosts, and other heads that mean several things."""

_MIDDLING = _post(_infer_body(json.dumps([[[1.5, -1.5]] * 100] * 20).encode(), [20, 100, 2]))


@_attack(10_000, seconds=8.0)
async def idle(crowd: Crowd, connection: socket.socket) -> None:
    """Keep ten thousand connections open that send nothing."""
    await crowd.read_all(connection)


@_attack(3000)
async def slow_heads(crowd: Crowd, connection: socket.socket) -> None:
    """Send heads with one field per second (slowhttptest -H)."""
    await crowd.send(connection, LIVE)
    while True:
        await crowd.send(connection, b"X-a: b\r\n")
        await asyncio.sleep(1)


@_attack(3000)
async def slow_bodies(crowd: Crowd, connection: socket.socket) -> None:
    """Send bodies of 1 MiB, a few bytes per second (slowhttptest -B)."""
    await crowd.send(connection, INFER + b"Content-Length: 1048576\r\n\r\n")
    while True:
        await crowd.send(connection, b"x=y&")
        await asyncio.sleep(1)


@_attack(500, window=4096)
async def slow_readers(crowd: Crowd, connection: socket.socket) -> None:
    """Send several requests, and read the answers one byte at a time (slowhttptest -X)."""
    await crowd.send(connection, b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 10)
    while await crowd.read(connection, 1):
        await asyncio.sleep(0.1)


@_attack(4000)
async def large_heads(crowd: Crowd, connection: socket.socket) -> None:
    """Send four thousand heads of almost the maximum size that never end."""
    await crowd.send(connection, _LARGE_HEAD)
    await crowd.read_all(connection)


@_attack(50, window=4096)
async def pipelining(crowd: Crowd, connection: socket.socket) -> None:
    """Send ten thousand requests at once on each of fifty connections, and close them."""
    await crowd.send(connection, (LIVE + b"\r\n") * 10_000)
    await asyncio.sleep(4.0)


@_attack(50)
async def gzip_bombs(crowd: Crowd, connection: socket.socket) -> None:
    """Fifty clients repeatedly send 32 KiB that decompress to 32 MiB."""
    await crowd.post_again_and_again(_bomb(), connection)


@_attack(2, seconds=10.0)
async def posts_of_16_mib(crowd: Crowd, connection: socket.socket) -> None:
    """Two clients repeatedly post 16 MiB of JSON."""
    await crowd.post_again_and_again(post_of_16_mib(), connection)


@_attack(6, seconds=20.0)
async def hostile_json(crowd: Crowd, connection: socket.socket) -> None:
    """Send bodies that are hard to parse."""
    await crowd.send(connection, _hostile_json()[next(crowd.numbers)])
    await crowd.read_all(connection)


@_attack(100)
async def json_of_a_megabyte(crowd: Crowd, connection: socket.socket) -> None:
    """A hundred clients send JSON of small lists, slightly smaller than bodies that go to another process."""
    await crowd.post_again_and_again(_SMALL_LISTS, connection)


@_attack(2000)
async def malformed_requests(crowd: Crowd, connection: socket.socket) -> None:
    """Send ambiguous or meaningless heads."""
    await crowd.send(connection, _MALFORMED[next(crowd.numbers) % len(_MALFORMED)])
    connection.shutdown(socket.SHUT_WR)
    await crowd.read_all(connection)


@_attack(16, seconds=60.0)
async def names_of_models(crowd: Crowd, connection: socket.socket) -> None:
    """Request ten thousand models that don't exist."""
    for number in itertools.takewhile(lambda number: number < 10_000, crowd.numbers):
        path = b"/v2/models/m%d%s" % (number, b"a" * 200)
        await crowd.send(connection, b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)
        said = await crowd.read(connection)
        crowd.said[int(said[9:12])] += 1


@_attack(3000)
async def resets(crowd: Crowd, connection: socket.socket) -> None:
    """Reset connections while their requests are being answered."""
    await crowd.send(connection, _MIDDLING)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
