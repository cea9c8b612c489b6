"""Threads for calls the public way: a bounded number, with a bounded number of calls that wait for one.

grpcio's own pool takes any number of calls. Here, one that comes when as many wait as may is given to a few threads
that only refuse; and a call whose message does not arrive gives way to those that wait to be received.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import ParamSpec, TypeVar

import grpc

from rnnserve.server.batching.clock import now
from rnnserve.server.errors import Cancelled, ServeError, Unsupported

__all__ = ["CallPool"]

P = ParamSpec("P")
R = TypeVar("R")

_REFUSING_THREADS = 2

_RECEIVING = 8
"""Messages that are received at once: nobody has counted their bytes yet, and 15 kB may be compressed 16 MB."""

_LATE_SECONDS = 0.25
"""Seconds after which the next message is received beside one that does not arrive."""

_HOPELESS_SECONDS = 10.0
"""Seconds after which a call whose message has not arrived is ended, where such calls have half of the threads and
others wait. Its caller hears CANCELLED: grpcio has no other way to end a call from outside of its handler."""

_LOOK_SECONDS = 0.05


class CallPool(futures.ThreadPoolExecutor):
    """Threads that answer calls, and those that refuse what is too much.

    Attributes:
        taken: How many calls it has taken so far.
    """

    def __init__(self, threads: int, capacity: int, name: str, full: ServeError) -> None:
        """Start with no thread.

        Args:
            threads: How many calls are answered at once.
            capacity: How many calls may be in hand, those that wait for a thread included.
            name: Of the threads.
            full: What further calls are told.
        """
        super().__init__(threads, thread_name_prefix=name)
        self._capacity = capacity
        self._full = full
        self._in_hand = self.taken = 0
        self._lock = threading.Lock()
        self._refusing = futures.ThreadPoolExecutor(_REFUSING_THREADS, thread_name_prefix=f"{name} refusing")
        self._on_thread = threading.local()
        self._turns = threading.Semaphore(_RECEIVING)
        self._waiting_to_receive = 0
        self._receiving: dict[grpc.ServicerContext, float] = {}
        self._late: set[grpc.ServicerContext] = set()  # of these: the next are received beside them
        self._may_answer = threading.Event()
        self._may_answer.set()
        self._is_closed = threading.Event()
        self._watchdog = threading.Thread(target=self._watch, name=f"{name} watchdog", daemon=True)
        self._watchdog.start()

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> futures.Future[R]:
        """Have a call answered, or refused."""
        with self._lock:
            self.taken += 1
            is_too_many = self._in_hand >= self._capacity
            self._in_hand += not is_too_many
        if is_too_many:
            return self._refusing.submit(self._refuse(fn), *args, **kwargs)
        try:
            return super().submit(self._answer(fn), *args, **kwargs)
        except RuntimeError:  # the pool has been shut down
            self._end_one()
            raise

    def receive(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        """Wait for a call's message, on the thread that has the call.

        Raises:
            ServeError: What the pool was made with, if the call is one too many.
            Unsupported: If the caller has ended its side without one.
            Cancelled: If the call has ended, or has given way to others.
        """
        if getattr(self._on_thread, "must_refuse", False):
            raise self._full
        if not self._turns.acquire(blocking=False):
            with self._lock:
                self._waiting_to_receive += 1
            self._turns.acquire()
            with self._lock:
                self._waiting_to_receive -= 1
        self._receiving[context] = now()
        try:
            return next(messages)
        except StopIteration:
            raise Unsupported("the method requires exactly one request message.") from None
        except grpc.RpcError:
            raise Cancelled("the call ended before its message had arrived") from None
        finally:
            with self._lock:
                del self._receiving[context]
                was_late = context in self._late
                self._late.discard(context)
            if not was_late:
                self._turns.release()

    def hold(self) -> None:
        """Let answers wait, until `release`."""
        self._may_answer.clear()

    def release(self) -> None:
        """Let answers be sent."""
        self._may_answer.set()

    def wait_to_answer(self) -> None:
        """Wait while answers are held back; on the thread that has one."""
        if not self._may_answer.is_set():
            self._may_answer.wait()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads when they have done what they have."""
        self._is_closed.set()
        self._may_answer.set()
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

    def _pass_late(self) -> None:
        """Let the next messages be received beside those that do not arrive; end calls that have not for very long."""
        at = now()
        with self._lock:
            receiving = list(self._receiving.items())
            late = {context for context, since in receiving if since < at - _LATE_SECONDS} - self._late
            self._late |= late
        if late:
            self._turns.release(len(late))
        if len(receiving) >= self._max_workers // 2:
            for context, since in receiving:
                if since < at - _HOPELESS_SECONDS:
                    context.cancel()

    def _watch(self) -> None:
        while not self._is_closed.wait(_LOOK_SECONDS):
            if self._waiting_to_receive:
                self._pass_late()
