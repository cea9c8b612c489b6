"""Threads for calls the public way: a bounded number, with a bounded number of calls that wait for one.

grpcio's own pool takes any number of calls, first come, first served. Here, one that comes when as many wait as may is
given to a few threads that only refuse. Connections take turns, both for a thread and for receiving a message; and a
call whose message does not arrive gives way to those that wait.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, NamedTuple, ParamSpec, TypeVar

import grpc

from rnnserve.server.batching.clock import now
from rnnserve.server.batching.connection_turns import ConnectionTurns
from rnnserve.server.errors import Cancelled, ServeError, Unsupported
from rnnserve.server.transport.receiving_turns import ReceivingTurns

__all__ = ["CallPool"]

P = ParamSpec("P")
R = TypeVar("R")

_REFUSING_THREADS = 2

_HOPELESS_SECONDS = 0.5
"""Seconds after which a call whose message has not arrived is ended, where such calls have half of the threads and
others wait for one: a call of the connection with the most of these. Its caller hears CANCELLED: grpcio has no other
way to end a call from outside of its handler."""

_ENDED_AT_ONCE = 8
"""Calls that are ended between two looks."""

_LOOK_SECONDS = 0.05


class _Call(NamedTuple):
    """A call that waits for a thread."""

    answer: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    future: "futures.Future[Any]"


class CallPool(futures.ThreadPoolExecutor):
    """Threads that answer calls, and those that refuse what is too much."""

    def __init__(self, threads: int, capacity: int, name: str, full: ServeError) -> None:
        """Start with no thread.

        Args:
            threads: How many calls are answered at once.
            capacity: How many calls may be in hand, those that wait for a thread included.
            name: Of the threads.
            full: What further calls are told.
        """
        super().__init__(threads, thread_name_prefix=name)
        self._threads_count = threads
        self._capacity = capacity
        self._full = full
        self._in_hand = 0
        self._lock = threading.Lock()
        self._waiting: ConnectionTurns[_Call] = ConnectionTurns()
        self._refusing = futures.ThreadPoolExecutor(_REFUSING_THREADS, thread_name_prefix=f"{name} refusing")
        self._on_thread = threading.local()
        self._turns = ReceivingTurns()
        self._receiving: dict[grpc.ServicerContext, float] = {}  # since when
        self._is_closed = threading.Event()
        self._watchdog = threading.Thread(target=self._watch, name=f"{name} watchdog", daemon=True)
        self._watchdog.start()

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> futures.Future[R]:
        """Have a call answered, or refused."""
        call = _Call(fn, args, kwargs, futures.Future())
        with self._lock:
            is_too_many = self._in_hand >= self._capacity
            if not is_too_many:
                # Its connection matters where calls wait for a thread.
                self._waiting.add(_connection_of(args) if self._in_hand >= self._threads_count else b"", call)
                self._in_hand += 1
        if is_too_many:
            return self._refusing.submit(self._refuse(fn), *args, **kwargs)
        try:
            super().submit(self._answer_next)
        except RuntimeError:  # the pool has been shut down
            self._end_one()
            raise
        return call.future

    def receive(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        """Wait for a call's message, on the thread that has the call.

        Raises:
            ServeError: What the pool was made with, if the call is one too many.
            Unsupported: If the caller has ended its side without one.
            Cancelled: If the call has ended, or has given way to others.
        """
        self.refuse_if_full()
        if not self._turns.take_free():
            self._turns.wait(context.peer())
        self._receiving[context] = now()
        message = b""
        try:
            message = next(messages)
        except StopIteration:
            raise Unsupported("the method requires exactly one request message.") from None
        except grpc.RpcError:
            raise Cancelled("the call ended before its message had arrived") from None
        finally:
            del self._receiving[context]
            self._turns.give_back(len(message))
        return message

    def refuse_if_full(self) -> None:
        """To be called on the thread that has the call.

        Raises:
            ServeError: What the pool was made with, if the call is one too many.
        """
        if getattr(self._on_thread, "must_refuse", False):
            raise self._full

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads when they have done what they have."""
        self._is_closed.set()
        self._refusing.shutdown(wait, cancel_futures=cancel_futures)
        super().shutdown(wait, cancel_futures=cancel_futures)

    def _answer_next(self) -> None:
        with self._lock:
            call = self._waiting.pop()
        try:
            call.future.set_result(call.answer(*call.args, **call.kwargs))
        except BaseException as error:  # noqa: BLE001 - it is the future's, as in any executor
            call.future.set_exception(error)
        finally:
            self._end_one()

    def _refuse(self, fn: Callable[P, R]) -> Callable[P, R]:
        def refuse(*args: P.args, **kwargs: P.kwargs) -> R:
            self._on_thread.must_refuse = True
            return fn(*args, **kwargs)

        return refuse

    def _end_one(self) -> None:
        with self._lock:
            self._in_hand -= 1

    def _end_hopeless(self) -> None:
        """End calls whose messages do not arrive, where they have half of the threads."""
        receiving = list(self._receiving.items())
        if not receiving or len(receiving) + self._turns.waiting < self._threads_count // 2:
            return
        by_connection = Counter(context.peer() for context, _ in receiving)
        (most, _), *_ = by_connection.most_common(1)
        since = now() - _HOPELESS_SECONDS
        hopeless = [context for context, began in receiving if began < since and context.peer() == most]
        for context in hopeless[:_ENDED_AT_ONCE]:
            context.cancel()

    def _watch(self) -> None:
        while not self._is_closed.wait(_LOOK_SECONDS):
            self._turns.pass_late()
            if self._waiting:
                self._end_hopeless()


def _connection_of(args: tuple[Any, ...]) -> bytes:
    """The connection of the call that grpcio gives to a pool: one of the arguments is the event that brought it."""
    for arg in args:
        call = getattr(arg, "call", None)
        if call is not None:
            connection: bytes = call.peer()
            return connection
    return b""
