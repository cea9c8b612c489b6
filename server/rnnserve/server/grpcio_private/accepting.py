"""Calls that wait in gRPC's core are taken many at once, where a crowd of them does, on the public transport.

grpcio asks its core for one call at a time, and for the next when it has begun to answer that one. The others wait in
the core, first come, first served, where connections take no turns: beside five connections with 1,000 calls in flight
each, a client with one call at a time waited for 4 to 8 s. So now and then some more are asked for at once, and where
that brings a crowd, many more: then calls wait in a pool of ours, whose connections take turns.

To ask for many all the time made 64 calls in flight 0.85 times as fast: most of the threads then wait for each other.

It uses what grpcio keeps private (`server._state`: its core server, its lock, and the set of events that are due).
Where a grpcio lacks it, calls are taken one at a time.
"""

import importlib
import logging
import threading
from collections.abc import Callable
from typing import Any

import grpc

__all__ = ["Accepting"]

_log = logging.getLogger(__name__)

_BUSY = 100
"""Calls taken since the last time from which on some more are asked for at once."""

_SOME, _CROWD = 192, 128
"""How many these are, and calls in hand which then are a crowd: with fewer calls in flight, so many never are."""

_MANY = 1024
"""Calls that are asked for at once where there is a crowd."""

_PAUSE_SECONDS, _CROWD_SECONDS = 1.5, 0.1
"""Seconds between two times that more are asked for: without a crowd, and with one."""

_LOOKS = 3
"""How often the calls in hand are looked at after some have been asked for, within `_CROWD_SECONDS`."""


class Accepting:
    """Asks for more calls of a server that has been started."""

    def __init__(
        self, server: grpc.Server, in_hand: Callable[[], int], taken: Callable[[], int], capacity: int
    ) -> None:
        """Prepare the server. Before it is started.

        Args:
            server: A public server.
            in_hand: A function that gives the number of calls in hand.
            taken: A function that gives the number of calls that have been taken so far.
            capacity: Number of calls that may be in hand: beyond it none are asked for, since they would be refused.
        """
        self._in_hand, self._taken, self._capacity = in_hand, taken, capacity
        self._is_closed = threading.Event()
        self._lock: Any = threading.Lock()
        try:
            state: Any = server._state  # type: ignore[attr-defined]  # noqa: SLF001 - see above
            self._core, self._queue = state.server, state.completion_queue
            self._tag: str = importlib.import_module("grpc._server")._REQUEST_CALL_TAG  # noqa: SLF001 - see above
            self._lock, self._due = state.lock, _Due(state.due)
            state.due, state.server = self._due, _CoreServer(self._core, self._due, self._tag)
        except (AttributeError, ImportError) as error:
            _log.info("calls are taken one at a time: %s", error)
            self._is_closed.set()

    def start(self) -> None:
        """Begin, on a thread."""
        threading.Thread(target=self._loop, name="accepting", daemon=True).start()

    def stop(self) -> None:
        """Ask for no more. To be called before the server is stopped."""
        with self._lock:
            self._is_closed.set()

    def ask(self, count: int) -> None:
        """Ask for so many calls more, or for as many as there is room for, unless those of before have not come."""
        room = self._capacity - self._in_hand()
        with self._lock:
            if self._is_closed.is_set() or self._due.surplus:
                return
            for _ in range(min(count, room)):
                self._core.request_call(self._queue, self._queue, self._tag)
                self._due.add(self._tag)
                self._due.surplus += 1

    def _loop(self) -> None:
        taken = self._taken()
        while not self._is_closed.wait(_PAUSE_SECONDS):
            before, taken = taken, self._taken()
            if taken - before < _BUSY:
                continue
            self.ask(_SOME)
            while self._has_crowd():
                self.ask(_MANY)

    def _has_crowd(self) -> bool:
        """Whether a crowd is in hand within a while."""
        for _ in range(_LOOKS):
            if self._is_closed.wait(_CROWD_SECONDS / _LOOKS):
                return False
            if self._in_hand() > _CROWD:
                return True
        return False


class _Due:
    """The events that are due, of which several may have one tag, in the place of grpcio's set. With its lock.

    Attributes:
        surplus: How many calls have been asked for beyond the one that grpcio asks for.
        skips: Whether the next that is added has not been asked for.
    """

    def __init__(self, due: set[Any]) -> None:
        self._due = list(due)
        self.surplus = 0
        self.skips = False

    def __len__(self) -> int:
        return len(self._due)

    def add(self, tag: object) -> None:
        """Note that an event is due."""
        if self.skips:
            self.skips = False
        else:
            self._due.append(tag)

    def remove(self, tag: object) -> None:
        """Note that one has come."""
        self._due.remove(tag)


class _CoreServer:
    """grpcio's core server, which asks for no other call in the place of one that was asked for beyond the first."""

    def __init__(self, core: Any, due: _Due, tag: str) -> None:  # noqa: ANN401 - grpcio's own
        self._core, self._due, self._tag = core, due, tag

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - grpcio's own
        return getattr(self._core, name)

    def request_call(self, call_queue: object, server_queue: object, tag: object) -> None:
        """Ask for a call. grpcio notes it as due right after."""
        if tag == self._tag and self._due.surplus:
            self._due.surplus -= 1
            self._due.skips = True
        else:
            self._core.request_call(call_queue, server_queue, tag)
