"""Limits the bytes of bodies and responses in flight, and processes large ones on another thread."""

import asyncio
import functools
import time
from collections.abc import Callable
from concurrent import futures
from typing import ParamSpec, TypeVar

from rnnserve.web.errors import RestError

__all__ = ["LARGE", "SMALL", "Budget", "beside_loop"]

P = ParamSpec("P")
T = TypeVar("T")

LARGE = 128 << 10
"""Size in bytes of the smallest body that another thread reads or writes. Switching threads takes 0.1 ms."""

_THREAD = futures.ThreadPoolExecutor(1, thread_name_prefix="large bodies")


SMALL, _FOR_SMALL_SHARE = 64 << 10, 6
"""Largest size of a small request or response in bytes, and the divisor of the share reserved for small requests (one
sixth)."""


class Budget:
    """Counts and limits the bytes of bodies and large responses in flight."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.held = 0

    def hold(self, size: int, own: int) -> None:
        """Count `size` more bytes for a request that already holds `own` bytes.

        Raises RestError if the budget is used up, unless no other request holds any bytes.
        """
        others = self.held - own
        most = self._most if own + size <= SMALL else self._most - self._most // _FOR_SMALL_SHARE
        if others and self.held + size > most:
            raise RestError(
                429,
                f"requests and responses in flight already take {others:,} of at most {self._most:,} bytes; send "
                "fewer requests at the same time",
                headers={"retry-after": "1"},
            )
        self.held += size


async def beside_loop(size: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function. If `size` is large, call it on another thread, which runs one call at a time."""
    if size < LARGE:
        return function(*args, **kwargs)
    call = functools.partial(function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_THREAD, _in_turn, call)


_next = [0.0]  # the earliest time of the next call on the thread


def _in_turn(function: Callable[[], T]) -> T:
    """Call a function so that the calls leave the event loop as much time as they take.

    The loop needs the GIL for each event, and a call keeps it for up to some 10 ms. Without a pause between two calls,
    a hundred connections that send data would take seconds.
    """
    time.sleep(max(0.0, _next[0] - time.monotonic()))
    began = time.monotonic()
    try:
        return function()
    finally:
        _next[0] = 2 * time.monotonic() - began
