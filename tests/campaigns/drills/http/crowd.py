"""Connections of an attacker: many of them, on one loop, that send and read as little or as much as they are told."""

import asyncio
import contextlib
import resource
import socket
from collections import Counter
from collections.abc import Awaitable, Callable

__all__ = ["Crowd", "may_open", "statuses"]

_A_SECOND = 1500
"""Connections that are made a second, as slowhttptest makes them. Far more at once fill the kernel's list of those that
wait to be accepted, of 4,096: then it answers a bystander's connection after 1 s, or 3 s, whatever the server does."""


def may_open(count: int) -> bool:
    """Whether this process may have so many descriptors. Its soft limit is raised for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 200
    if soft < wanted and (hard == resource.RLIM_INFINITY or hard >= wanted):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return soft >= wanted


def statuses(said: bytes) -> Counter[int]:
    """The statuses of the answers in what came."""
    found = [line[9:12] for line in said.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    return Counter(int(status) for status in found if status.isdigit())


class Crowd:
    """Does the same with many connections, for some seconds.

    Attributes:
        said: Statuses that came, and "closed" and "refused" of connections.
    """

    def __init__(self, port: int, seconds: float) -> None:
        self.said: Counter[int | str] = Counter()
        self._port = port
        self._seconds = seconds

    def run(self, count: int, work: Callable[["Crowd", socket.socket], Awaitable[None]], window: int = 0) -> None:
        """Open connections, and have each worked with until the time is over; they are closed then.

        Args:
            count: Number of connections.
            work: Function that works with one; it may end with a connection that was closed.
            window: Bytes of what is received before it is read; 0 for the system's own.
        """
        asyncio.run(self._run(count, work, window))

    async def _run(self, count: int, work: Callable[["Crowd", socket.socket], Awaitable[None]], window: int) -> None:
        async def one(number: int) -> None:
            await asyncio.sleep(number / _A_SECOND)
            with socket.socket() as connection:
                connection.setblocking(False)
                if window:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
                try:
                    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self._port))
                    await work(self, connection)
                except OSError as error:
                    self.said[type(error).__name__] += 1

        tasks = [asyncio.create_task(one(number)) for number in range(count)]
        _, late = await asyncio.wait(tasks, timeout=self._seconds + count / _A_SECOND)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def send(self, connection: socket.socket, data: bytes) -> None:
        """Send all of it."""
        await asyncio.get_running_loop().sock_sendall(connection, data)

    async def read(self, connection: socket.socket, size: int = 1 << 16) -> bytes:
        """Read some bytes. None at the end."""
        return await asyncio.get_running_loop().sock_recv(connection, size)

    async def read_all(self, connection: socket.socket) -> None:
        """Read until the end, and count the answers."""
        said = b""
        with contextlib.suppress(ConnectionError):
            while piece := await self.read(connection):
                said += piece if len(said) < 1 << 20 else b""
        self.said.update(statuses(said) or {"closed": 1})
