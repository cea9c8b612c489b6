"""Threads that take calls, and go on where there was no memory for one of them.

grpcio makes Python's bytes of a message on the thread that is told of it. Where the system gives no address space for
them (`ulimit -v`), that raises MemoryError, and the message is lost with all that is known of it. grpcio's own thread
ended with that, and with it every call that does not come on the lane, while the process was live and ready.

It puts a function around `grpc._server._serve`, which grpcio's thread runs. Remove when grpcio refuses such a call.
"""

import contextlib
import importlib
import logging
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["make_serving_lasting", "run_lasting"]

_log = logging.getLogger(__name__)


def run_lasting(work: Callable[[], None], end_lost: Callable[[], None]) -> None:
    """Do this thread's work until it returns, again after each MemoryError.

    Args:
        work: The work.
        end_lost: A function that ends what may have been lost.
    """
    while True:
        try:
            return work()
        except MemoryError:
            with contextlib.suppress(MemoryError):
                end_lost()
                _log.error(
                    "a message was lost: there was no memory for it (thread %s)", threading.current_thread().name
                )


def make_serving_lasting() -> bool:
    """Have grpcio's thread go on after a MemoryError: the threads of servers that are started from now on.

    Returns:
        Whether it does: not where grpcio has no such function.
    """
    server: Any = importlib.import_module("grpc._server")
    serve = getattr(server, "_serve", None)
    if serve is None:
        return False
    if not isinstance(serve, _LastingServe):
        server._serve = _LastingServe(serve)  # noqa: SLF001 - see above
    return True


class _LastingServe:
    """grpcio's function, and again after a MemoryError."""

    def __init__(self, serve: Callable[[object], None]) -> None:
        self._serve = serve

    def __call__(self, state: object) -> None:
        run_lasting(lambda: self._serve(state), lambda: None)
