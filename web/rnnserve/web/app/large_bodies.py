"""Large bodies are read and written beside the loop, one after another: others are answered in between.

Python's lock is held for as long as one function of C works, 5 ms for a MiB of JSON, and not for all of them in a row;
and one body at a time bounds the memory that lists of numbers take, four times that of their text.
"""

import asyncio
from collections.abc import Callable
from concurrent import futures
from typing import ParamSpec, TypeVar

__all__ = ["LARGE", "beside_loop"]

P = ParamSpec("P")
T = TypeVar("T")

LARGE = 1 << 20
"""Bytes from which on a body is large: to hand it over and back takes 0.1 ms."""

_THREAD = futures.ThreadPoolExecutor(1, thread_name_prefix="large bodies")


async def beside_loop(size: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function: on another thread, where what it works on has many bytes.

    Args:
        size: Number of these bytes.
        function: Function to call, with the arguments that follow.
        args: Arguments by position.
        kwargs: Arguments by name.
    """
    if size < LARGE:
        return function(*args, **kwargs)
    call = asyncio.get_running_loop().run_in_executor(_THREAD, lambda: function(*args, **kwargs))
    return await call
