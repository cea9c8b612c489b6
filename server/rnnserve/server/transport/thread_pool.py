"""Threads for calls the public way: a bounded number, with a bounded number of calls that wait for one.

grpcio's own pool takes any number of calls. Here, one that comes when as many wait as may is given to a few threads
that only refuse; and a call whose message has not arrived keeps its thread only until others wait for one.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import ParamSpec, TypeVar

import grpc

from rnnserve.server.batching.clock import now
from rnnserve.server.errors import Cancelled, Unsupported

__all__ = ["CallPool"]

P = ParamSpec("P")
R = TypeVar("R")

_REFUSING_THREADS = 2

_LATE_SECONDS = 0.25
"""Seconds after which a call without a message gives its thread up where others wait."""

_RECEIVING, _TURN_SECONDS = 8, 0.1
"""Messages that are received at once, since nobody has counted their bytes yet; a slow one is passed after a time."""

_LOOK_SECONDS = 0.05


class CallPool(futures.ThreadPoolExecutor):
    """Threads that answer calls, and those that refuse what is too much."""

    def __init__(self, threads: int, capacity: int, name: str) -> None:
        """Start with no thread.

        Args:
            threads: How many calls are answered at once.
            capacity: How many calls may be in hand, those that wait for a thread included.
            name: Of the threads.
        """
        super().__init__(threads, thread_name_prefix=name)
        self.capacity = capacity
        self._threads_at_most = threads
        self._in_hand = 0
        self._lock = threading.Lock()
        self._refusing = futures.ThreadPoolExecutor(_REFUSING_THREADS, thread_name_prefix=f"{name} refusing")
        self._on_thread = threading.local()
        self._turns = threading.Semaphore(_RECEIVING)
        self._unfinished: dict[grpc.ServicerContext, float] = {}
        self._is_closed = threading.Event()
        self._watchdog = threading.Thread(target=self._watch, name=f"{name} watchdog", daemon=True)
        self._watchdog.start()

    @property
    def must_refuse(self) -> bool:
        """Whether the call that this thread has is one too many."""
        return getattr(self._on_thread, "must_refuse", False)

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> futures.Future[R]:
        """Have a call answered, or refused."""
        with self._lock:
            is_too_many = self._in_hand >= self.capacity
            self._in_hand += not is_too_many
        if is_too_many:
            return self._refusing.submit(self._refuse(fn), *args, **kwargs)
        try:
            return super().submit(self._answer(fn), *args, **kwargs)
        except RuntimeError:  # the pool has been shut down
            self._end_one()
            raise

    def receive(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        """Wait for a call's message.

        Raises:
            Unsupported: If the caller has ended its side without one.
            Cancelled: If the call has ended, or has given way to others.
        """
        has_turn = self._turns.acquire(timeout=_TURN_SECONDS)
        self._unfinished[context] = now()
        try:
            return next(messages)
        except StopIteration:
            raise Unsupported("the method requires exactly one request message.") from None
        except grpc.RpcError:
            raise Cancelled("the call ended before its message had arrived") from None
        finally:
            del self._unfinished[context]
            if has_turn:
                self._turns.release()

    def end_late(self, count: int) -> int:
        """End calls whose message has not arrived for a while, the oldest first.

        Args:
            count: How many at most.

        Returns:
            How many.
        """
        late = [context for context, since in list(self._unfinished.items()) if since < now() - _LATE_SECONDS]
        for context in late[:count]:
            context.cancel()
        return len(late[:count])

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads when they have done what they have."""
        self._is_closed.set()
        self._refusing.shutdown(wait, cancel_futures=cancel_futures)
        super().shutdown(wait, cancel_futures=cancel_futures)

    def _answer(self, fn: Callable[P, R]) -> Callable[P, R]:
        def answer(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return fn(*args, **kwargs)
            finally:
                self._end_one()

        return answer

    def _refuse(self, fn: Callable[P, R]) -> Callable[P, R]:
        def refuse(*args: P.args, **kwargs: P.kwargs) -> R:
            self._on_thread.must_refuse = True
            return fn(*args, **kwargs)

        return refuse

    def _end_one(self) -> None:
        with self._lock:
            self._in_hand -= 1

    def _watch(self) -> None:
        while not self._is_closed.wait(_LOOK_SECONDS):
            waiting = self._in_hand - self._threads_at_most
            if waiting > 0:
                self.end_late(waiting)
