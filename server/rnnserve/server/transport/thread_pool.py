"""Threads for calls the public way: a bounded number, with a bounded number of calls that wait for one.

grpcio's own pool takes any number of calls, first come, first served. Here, connections take turns, and none may take
all threads where that is told. A call that comes when as many wait as may is given to a few threads that only refuse,
or in its place one of the connection that has the most. And a call whose message does not arrive gives way to others.
"""

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, ParamSpec, TypeVar

import grpc

from rnnserve.server.clock import now
from rnnserve.server.connections.byte_budget import SMALL, OfConnection
from rnnserve.server.connections.call_queue import CallQueue
from rnnserve.server.connections.held_answers import HeldAnswers
from rnnserve.server.connections.pooled_call import CallOfThread, PooledCall
from rnnserve.server.errors import Cancelled, ServeError, Unsupported, WaitTooLong
from rnnserve.server.transport.late_messages import LateMessages
from rnnserve.server.transport.received_bytes import ReceivedBytes
from rnnserve.server.transport.thread_stack import ThreadStack
from rnnserve.server.transport.watchdog import Watchdog

__all__ = ["CallPool"]

P = ParamSpec("P")
R = TypeVar("R")

_REFUSING_THREADS = 2

_HOPELESS_SECONDS = 0.5
"""Seconds after which a call whose message has not arrived is ended, where others wait for a thread: a call of the
connection with the most of these on which no bytes arrive. Beyond it: RESOURCE_EXHAUSTED, on the public transport."""


class CallPool(futures.ThreadPoolExecutor, CallQueue, HeldAnswers):
    """Threads that answer calls, and those that refuse what is too much.

    Attributes:
        late: Those of them that wait for a message, and how they give way.
        received: Messages that its calls have received.
        is_short_of_memory: To be set while that is so: then no more messages are received beside those that are late.
    """

    def __init__(
        self,
        threads: int,
        capacity: int,
        name: str,
        full: ServeError,
        *,
        of_connection: int | None = None,
        at_work: int | None = None,
        hopeless_seconds: float | None = None,
        max_wait: float = math.inf,
        watchdog: Watchdog | None = None,
        received: ReceivedBytes | None = None,
        clock: Callable[[], float] = now,
    ) -> None:
        """Start with no thread.

        Args:
            threads: Number of calls that have a thread at once.
            capacity: Number of calls that may be in hand, those that wait for a thread included.
            name: Name of the threads.
            full: The message that further calls get.
            of_connection: Number of calls of one connection that have a thread at once; None for all.
            at_work: Number of calls whose message has arrived that are answered at once; None for all.
            hopeless_seconds: Seconds after which a call whose message has not arrived is ended, where others wait for a
                thread or were refused. None is half a second, and only where such calls have half of the threads: for
                large messages.
            max_wait: Seconds that a call may have waited for a thread, and for its turn to be received; later it is
                refused. For calls of one message.
            watchdog: Looks at the calls; None for one of its own.
            received: Counter of the messages; None for one of its own.
            clock: Clock, in seconds.
        """
        CallQueue.__init__(self, threads, capacity, of_connection=of_connection, clock=clock)
        HeldAnswers.__init__(self)
        super().__init__(threads)  # grpcio wants a pool of this class; the threads are our own
        self._threads_of_calls = ThreadStack(threads, name, self._answer_one_after_another)
        self._full = full
        self._hopeless_seconds = _HOPELESS_SECONDS if hopeless_seconds is None else hopeless_seconds
        self._max_wait = max_wait
        self._crowd = threads // 2 if hopeless_seconds is None else 1
        self.at_work: contextlib.AbstractContextManager[Any] = (
            contextlib.nullcontext() if at_work is None else threading.Semaphore(at_work)
        )
        self._refusing = futures.ThreadPoolExecutor(_REFUSING_THREADS, thread_name_prefix=f"{name} refusing")
        self._on_thread = CallOfThread()
        self.late = LateMessages(clock)
        self.received = received or ReceivedBytes()
        self.is_short_of_memory = False
        self._is_closed = threading.Event()
        self._watchdog = watchdog or Watchdog()
        self._has_come = self._watchdog.has_come
        self._watchdog.watch(self)

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> futures.Future[R]:
        """Have a call answered, or refused."""
        if self._is_closed.is_set():
            raise RuntimeError("cannot take a call after shutdown")
        call = PooledCall(self._clock(), fn, *args, **kwargs)
        future = call.future
        refused = self.put(call)
        if refused is not None:
            refused.must_refuse = True
            self._refusing.submit(self._run, refused)
        self._give_threads()
        if not self._has_come.is_set():
            self._has_come.set()
        return future

    def let_others_receive(self) -> None:
        """Pass on the turn of the call that this thread has: the thread is going to wait, or to answer for long."""
        call = self._on_thread.call
        if call.has_turn:
            self.give_turn_back(call)
            self._give_threads()

    def receive(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        """Wait for a call's only message, on the thread that has the call. Its turn is kept where the message is small.

        Raises:
            ServeError: What the pool was made with, if the call is one too many.
            WaitTooLong: If its turn has come too late.
            Unsupported: If the caller has ended its side without one.
            Cancelled: If the call has ended, or has given way to others.
        """
        message = self._receive(messages, context)
        if message is None:
            raise Unsupported("the method requires exactly one request message.")
        if len(message) > SMALL:
            self.let_others_receive()
        return message

    def receive_next(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes | None:
        """Wait for a call's next message; None where its caller has ended its side.

        Raises:
            ServeError: What the pool was made with, if the call is one too many.
            WaitTooLong: If its turn has come too late.
            Cancelled: If the call has ended, or has given way to others.
        """
        try:
            return self._receive(messages, context)
        finally:
            self.let_others_receive()

    def messages_of_stream(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """Give a stream's messages as they come, however long that takes; meanwhile `late` may end it.

        Raises:
            ServeError: What the pool was made with, if the stream is one too many.
            Cancelled: If the call has ended.
        """
        self.refuse_if_full()
        self.let_others_receive()
        while True:
            self.late.silent[context] = self._clock()
            try:
                message = next(messages, None)
            except grpc.RpcError as lost:
                # grpcio keeps it with the call, and the frames of its traceback have the call: a cycle.
                lost.__traceback__ = None
                raise Cancelled("the call ended") from None
            finally:
                self.late.silent.pop(context, None)
            if message is None:
                return
            self._count(message)
            yield message
            del message  # it may have 16 MB, and the next one may come in an hour

    def awaited(self) -> list[str]:
        """Name the connection of each call that waits for a message, or for a thread to receive it."""
        contexts = [*list(self.late.receiving), *list(self.late.silent)]
        return [call.connection for call in self.waiting()] + [context.peer() for context in contexts]

    @property
    def call(self) -> OfConnection:
        """The call that the thread has."""
        return self._on_thread.call

    @property
    def has_silent(self) -> bool:
        """Whether calls or streams wait for their clients, on any of which a message may be arriving."""
        return bool(self.late.silent or self.late.receiving)

    @property
    def has_calls(self) -> bool:
        """Whether it has calls in hand, or has just refused one."""
        return self.in_hand > 0 or self.has_refused

    def look(self) -> None:
        """Look at the calls whose messages do not arrive: others do not wait for them. To be called again and again."""
        if not self.is_short_of_memory:
            self.pass_late()
        self._give_threads()
        if self.has_refused or self.is_crowded():
            self.has_refused = False
            self._end_hopeless()

    def refuse_if_full(self) -> None:
        """To be called on the thread that has the call.

        Raises:
            ServeError: What the pool was made with, if the call is one too many.
        """
        if self._on_thread.call.must_refuse:
            raise self._full

    def _count(self, message: bytes | None) -> None:
        """Count a message that has been received, on the thread that has the call."""
        received = self.received
        received.messages += 1
        if message is not None and (by_connection := received.by_connection) is not None:
            by_connection[self._on_thread.call.connection] += len(message)

    def _refuse_if_late(self) -> None:
        waited = self._clock() - self._on_thread.call.came
        if waited > self._max_wait:
            raise WaitTooLong.for_its_turn(waited, self._max_wait)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads when they have done what they have."""
        self._is_closed.set()
        self._watchdog.leave(self)
        self.release()
        self._refusing.shutdown(wait, cancel_futures=cancel_futures)
        self._threads_of_calls.close(wait)
        super().shutdown(wait, cancel_futures=cancel_futures)

    def _receive(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes | None:
        """Wait for a call's next message: the first has the call's turn, and others come as those of streams do."""
        self.refuse_if_full()
        call, message = self._on_thread.call, None
        try:
            self._refuse_if_late()
            self.late.receiving[context] = self._clock()
            message = next(messages, None)
        except grpc.RpcError as lost:
            lost.__traceback__ = None  # see `messages_of_stream`
            raise Cancelled("the call ended before its message had arrived") from None
        finally:
            call.received = len(message or b"")
            self._count(message)
            self.late.receiving.pop(context, None)
        return message

    def _give_threads(self) -> None:
        """Give calls threads as long as they may have some."""
        while (call := self.take()) is not None:
            self._threads_of_calls.give(call)

    def _answer_one_after_another(self, first: PooledCall) -> None:
        """Answer a call, and after it those that may have its thread."""
        call: PooledCall | None = first
        del first
        while call is not None:
            self._run(call)
            call = self.end(call)

    def _run(self, call: PooledCall) -> None:
        self._on_thread.call = call
        call.run()
        del self._on_thread.call

    def _end_hopeless(self) -> None:
        """End calls whose messages do not arrive, where they are enough to matter."""
        receiving = len(self.late.receiving)
        if not receiving or self.unread(receiving) < self._crowd:
            return
        if receiving < self._crowd and self._clock() - self.received_at < self._hopeless_seconds:
            return  # those that wait for their turn have it soon: large messages take long on a busy machine
        self.late.end_hopeless(self._hopeless_seconds)
