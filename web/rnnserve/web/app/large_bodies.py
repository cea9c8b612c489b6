"""Large bodies are read and written beside the loop, one after another: others are answered in between.

Python's lock is held for as long as one function of C works: 16 to 60 ms for a MiB of JSON in nested lists, a second
for 16 MiB of them, which take 16 times that in memory while they are read (docs/lab/findings.md, "HTTP in Python"). So
what is very large is read in a process of its own, which has a lock of its own, gives way to the server, and has a
limit of memory: what hostile JSON takes there is not the front's, and does not end the front. What is not as large is
worked on in another thread, one at a time.
"""

import asyncio
import logging
import pickle
import time
import weakref
from collections.abc import Callable
from concurrent import futures
from typing import Any, Concatenate, ParamSpec, TypeVar

from rnnserve.common.guarded_process import GuardedProcess, ProcessEnded, ProcessTooSlow
from rnnserve.web.app.body_process_work import TOO_MUCH_MEMORY, ReadingTask
from rnnserve.web.errors import RestError

__all__ = ["LARGE", "VERY_LARGE", "beside_loop", "read_beside_loop"]

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)

LARGE = 128 << 10
"""Bytes from which on a body is worked on by another thread: to hand it over and back takes 0.1 ms."""

VERY_LARGE = 256 << 10
"""Bytes from which on a body is read by the other process: to hand it over and back takes a ms, and some ms a MiB."""

_MEMORY_BYTES = 128 << 20
"""Bytes that the objects of one body may take: lists, numbers, and the tensors made of them. Beyond it: 413."""

_ORJSON_TIMES = 12
"""Times the size of a text that orjson allocates beside it, and does not write to but for 16 bytes a value."""

_READ_SECONDS = 60.0
"""In which a body is read: 16 MiB take 0.3 s where nothing else runs."""

_IDLE_SECONDS = 5.0
"""After which the process is ended. Another one takes 0.2 s to start."""

_NICENESS = 10
"""Degree to which it gives way: requests over gRPC, and small ones over HTTP, come first."""

_THREAD = futures.ThreadPoolExecutor(1, thread_name_prefix="large bodies")
_LOCKS: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[futures.Executor, asyncio.Lock]]" = (
    weakref.WeakKeyDictionary()
)
_PROCESS_THREAD = futures.ThreadPoolExecutor(1, thread_name_prefix="very large bodies")
"""Waits for the process: what another thread can do goes on meanwhile."""


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
    return await _in_turn(_THREAD, lambda: function(*args, **kwargs))


async def read_beside_loop(
    size: int, function: Callable[Concatenate[bytes, P], T], body: bytes, *args: P.args, **kwargs: P.kwargs
) -> T:
    """Read a body: by a function in another process, where what it reads has very many bytes.

    Args:
        size: Number of bytes that are JSON.
        function: Function of a module that reads the body; it may raise RestError.
        body: All of it.
        args: Further arguments by position.
        kwargs: Arguments by name.

    Raises:
        RestError: Also if that takes more memory or time than there is for it.
    """
    if size < VERY_LARGE:
        return await beside_loop(size, function, body, *args, **kwargs)
    loop = asyncio.get_running_loop()
    task = ReadingTask(function, args, kwargs, _MEMORY_BYTES + _ORJSON_TIMES * size)
    try:
        result: T = await _in_turn(_PROCESS_THREAD, lambda: _READER.read(task, body))
        return result
    finally:
        loop.call_later(_IDLE_SECONDS, _PROCESS_THREAD.submit, _READER.end_if_idle)


async def _in_turn(thread: futures.Executor, call: Callable[[], T]) -> T:
    """Call a function on a thread when it is free: what waits, and is cancelled, is not kept in the thread's queue."""
    loop = asyncio.get_running_loop()
    locks = _LOCKS.setdefault(loop, {})
    async with locks.setdefault(thread, asyncio.Lock()):
        return await loop.run_in_executor(thread, call)


class _Reader:
    """The process that reads bodies, while there are any. For one thread."""

    def __init__(self) -> None:
        self._process: GuardedProcess | None = None
        self._used_at = 0.0

    def read(self, task: ReadingTask, body: bytes) -> Any:  # noqa: ANN401 - what the task's function gives
        try:
            if self._process is None:
                self._process = GuardedProcess("-m", "rnnserve.web.app.body_process_work", niceness=_NICENESS)
                self._process.receive(_READ_SECONDS)
            for request in (pickle.dumps(task), body):
                self._process.send(request, _READ_SECONDS)
                answer = self._process.receive(_READ_SECONDS)
        except ProcessEnded as ended:
            self._end()
            _log.warning("the process that reads large bodies has ended %s: another one is started", ended)
            if str(ended).endswith("SIGKILL"):
                raise _try_again("the process that read the body has been killed") from None
            raise _too_much() from None
        except ProcessTooSlow:
            self._end()
            _log.warning("a body of %d bytes was not read within %.0f s", len(body), _READ_SECONDS)
            raise _try_again(f"the body was not read within {_READ_SECONDS:.0f} s") from None
        except OSError as error:
            self._end()
            _log.warning("no process can be started that reads a large body: %s", error.strerror or error)
            raise _try_again("no process can be started that reads a body of this size") from None
        self._used_at = time.monotonic()
        said = pickle.loads(answer)  # noqa: S301 - from a process of our own
        if said == TOO_MUCH_MEMORY:
            raise _too_much()
        if isinstance(said, RestError):
            raise said
        return said

    def end_if_idle(self) -> None:
        if time.monotonic() - self._used_at >= _IDLE_SECONDS:
            self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None


_READER = _Reader()


def _too_much() -> RestError:
    return RestError(
        413,
        f"to read this JSON takes more than {_MEMORY_BYTES:,} bytes of memory: send fewer rows (the batch axis) a "
        "request, flat lists for nested ones, or binary tensors",
    )


def _try_again(why: str) -> RestError:
    return RestError(503, f"{why}; send it again, or binary tensors", headers={"retry-after": "1"})
