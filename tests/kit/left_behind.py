"""What requests leave in memory after they have been answered, where Python's collector does not run.

It counts objects, not bytes: a cycle of five objects that hold 14 MB may stay for hours. So there is to be none.
"""

import gc
import logging
import time
import types
from collections import Counter
from collections.abc import Iterator

import numpy as np

from kit.waiting import PATIENCE
from rnnserve.server.batching.execution import PendingRequest
from rnnserve.server.errors import ServeError
from rnnserve.server.fast_path.calls import ArrivedRequest
from rnnserve.server.protocol.sequences import Step, StreamOwner
from rnnserve.server.validation.signature import CheckedRequest

LARGE_BYTES = 64 << 10

OF_REQUESTS = (ArrivedRequest, PendingRequest, CheckedRequest, Step, StreamOwner, ServeError)
"""Classes of which nothing is left when all requests have been answered, and all streams have ended."""


class NothingLeft:
    """Asserts, at its end, that what was done within it has left nothing: neither in use, nor in cycles."""

    def __enter__(self) -> "NothingLeft":
        logging.disable()  # pytest keeps what is logged, with the frames of what was raised
        gc.disable()
        gc.freeze()  # what there is by now is looked at no more: with torch, a million objects
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        try:
            if failed is None:
                self._check()
        finally:
            gc.unfreeze()
            gc.enable()
            logging.disable(logging.NOTSET)

    def _check(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while (more := _in_use()) and time.monotonic() < deadline:
            time.sleep(0.02)
        flags = gc.get_debug()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            gc.collect()
            in_cycles = sorted({_words(one) for one in gc.garbage if _is_ours(one)})
        finally:
            gc.set_debug(flags)
            gc.garbage.clear()
        assert not in_cycles, f"in cycles: {in_cycles}"
        assert not more, f"still in use: {dict(more)}"


def _in_use() -> "Counter[str]":
    """How many objects there are of requests' classes, by class."""
    return Counter(type(one).__name__ for one in gc.get_objects() if issubclass(type(one), OF_REQUESTS))


def _is_ours(one: object) -> bool:
    """Whether an object without use is of the server: of its classes or functions, of its calls, or many bytes."""
    if isinstance(one, types.FrameType):
        return "/rnnserve/server/" in one.f_code.co_filename
    if isinstance(one, types.TracebackType):
        return "/rnnserve/server/" in one.tb_frame.f_code.co_filename
    module = one.__module__ if isinstance(one, types.FunctionType) else type(one).__module__
    is_of_loading = str(module).startswith("rnnserve.server.repository.")  # of a version, not of a request
    return (str(module).startswith("rnnserve.server") and not is_of_loading) or any(_large(one))


def _large(one: object) -> Iterator[bool]:
    for held in gc.get_referents(one):
        size = held.nbytes if isinstance(held, np.ndarray) else len(held) if isinstance(held, bytes) else 0
        yield size > LARGE_BYTES


def _words(one: object) -> str:
    if isinstance(one, types.FrameType):
        return f"frame of {one.f_code.co_qualname}" if hasattr(one.f_code, "co_qualname") else "frame"
    return f"{type(one).__module__}.{type(one).__qualname__} {getattr(one, '__qualname__', '')}".strip()
