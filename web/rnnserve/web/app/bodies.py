"""A budget for the bytes of bodies and answers in flight. Work on large ones beside the loop."""

import asyncio
from collections.abc import Callable
from concurrent import futures
from typing import ParamSpec, TypeVar

from rnnserve.web.errors import RestError

__all__ = ["LARGE", "Budget", "beside_loop"]

P = ParamSpec("P")
T = TypeVar("T")

LARGE = 128 << 10
"""Bytes from which on a body is read or written on another thread. To hand it over and back takes 0.1 ms."""

_THREAD = futures.ThreadPoolExecutor(1, thread_name_prefix="large bodies")


_SMALL, _FOR_SMALL_SHARE = 64 << 10, 6
"""Bytes of a small request, and the share of all bytes that only small requests may take: a sixth."""


class Budget:
    """Bytes of bodies and large answers in flight."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.held = 0

    def hold(self, size: int, own: int) -> None:
        """Count more bytes of a request that holds `own` already. RestError if others take all the room."""
        others = self.held - own
        most = self._most if own + size <= _SMALL else self._most - self._most // _FOR_SMALL_SHARE
        if others and self.held + size > most:
            raise RestError(
                429,
                f"other requests and answers take {others:,} bytes of the {self._most:,} that may be in flight; slow "
                "down",
                headers={"retry-after": "1"},
            )
        self.held += size


async def beside_loop(size: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function, on another thread if it works on many bytes: one such call at a time."""
    if size < LARGE:
        return function(*args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_THREAD, lambda: function(*args, **kwargs))
