"""Turns of large requests at the server: few of their answers arrive at the same time.

What a request takes shows when its answer comes, and that may be many times the request. While it arrives it is in
memory three times, as bytes, as a message, and as the tensors of that.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator

__all__ = ["Turns"]

_SMALL = 64 << 10
"""Bytes of a request that needs no turn."""


class Turns:
    """Who may go on: as many as have so many bytes together, in the order in which they come; one alone always."""

    def __init__(self, most: int) -> None:
        """Begin without any.

        Args:
            most: Bytes of requests that have a turn at a time.
        """
        self._most = most
        self._taken = 0
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    @contextlib.asynccontextmanager
    async def turn(self, size: int) -> AsyncIterator[None]:
        """Wait for a turn, and have it within the block.

        Args:
            size: Bytes of the request.
        """
        if size <= _SMALL:
            yield
            return
        if self._waiting or not self._fits(size):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((future, size))
            try:
                await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self._leave(size)
                raise
        else:
            self._taken += size
        try:
            yield
        finally:
            self._leave(size)

    def _fits(self, size: int) -> bool:
        return not self._taken or self._taken + size <= self._most

    def _leave(self, size: int) -> None:
        self._taken -= size
        while self._waiting:
            future, next_size = self._waiting[0]
            if not future.done():
                if not self._fits(next_size):
                    return
                self._taken += next_size
                future.set_result(None)
            self._waiting.popleft()
