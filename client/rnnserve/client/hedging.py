"""Hedged calls: a second one, to the next server, where the first has no answer yet; the first answer counts.

gRPC's core has no hedging of its own (proposal A6 describes it). A hedge is bounded by a budget, so that servers that
are slow because they have too much to do do not get twice as much. See J. Dean and L. A. Barroso, "The tail at scale",
CACM 56(2), 2013.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import grpc

from rnnserve.client.errors import InvalidRequest

__all__ = ["Hedging"]

_Start = Callable[[], Any]
"""Starts a call: a future of grpc, or an awaitable call of grpc.aio."""

_MOST_TOKENS, _TOKENS_OF_CALL = 10.0, 0.1
"""The budget: a hedge takes a token, a call gives a tenth of one, and no more than ten are kept."""


class Hedging:
    """When a call is hedged, and how many may be."""

    def __init__(self, after: float) -> None:
        """Begin with a full budget.

        Args:
            after: Seconds without an answer after which a second call is made.

        Raises:
            InvalidRequest: If they are not above 0.
        """
        if not after > 0:
            raise InvalidRequest(f"hedge_after {after}: expected seconds above 0, or None for no second call")
        self._after = after
        self._tokens = _MOST_TOKENS
        self._lock = threading.Lock()

    def call(self, start: _Start) -> Any:  # noqa: ANN401 - an answer of the method that is called
        """Make a blocking call, and a second one where the first takes long.

        Args:
            start: Function that starts a call, and gives its future.

        Raises:
            grpc.RpcError: If every call that was made has failed; that of the last one.
        """
        self._earn()
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        calls = [start()]
        calls[0].add_done_callback(ended.put)
        try:
            try:
                first = ended.get(timeout=self._after)
            except queue.Empty:
                if self._spend():
                    calls.append(start())
                    calls[1].add_done_callback(ended.put)
                first = ended.get()
            answered = first if first.code() is grpc.StatusCode.OK or len(calls) == 1 else ended.get()
            if answered.code() is not grpc.StatusCode.OK:
                raise answered
            return answered.result()
        finally:
            for call in calls:
                call.cancel()

    async def call_async(self, start: _Start) -> Any:  # noqa: ANN401 - an answer of the method that is called
        """Make a call, and a second one where the first takes long: see `call`."""
        self._earn()
        tasks = [asyncio.ensure_future(_answer(start()))]
        try:
            done, waiting = await asyncio.wait(tasks, timeout=self._after)
            if not done and self._spend():
                tasks.append(asyncio.ensure_future(_answer(start())))
                waiting = set(tasks)
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if any(task.exception() is None for task in done):
                    break
            answered = next((task for task in tasks if task.done() and task.exception() is None), tasks[-1])
            return answered.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _earn(self) -> None:
        with self._lock:
            self._tokens = min(_MOST_TOKENS, self._tokens + _TOKENS_OF_CALL)

    def _spend(self) -> bool:
        with self._lock:
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


async def _answer(call: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - an answer of the method that is called
    return await call
