"""Threads for calls the public way: a bounded number, with a bounded number of calls that wait for one.

grpcio's own pool takes any number of calls, first come, first served. Here, connections take turns, and none may take
all threads where that is told. A call that comes when as many wait as may is given to a few threads that only refuse,
or in its place one of the connection that has the most. And a call whose message does not arrive gives way to others.
"""

import contextlib
import math
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from concurrent import futures
from typing import Any, ParamSpec, TypeVar

import grpc

from rnnserve.server.clock import now
from rnnserve.server.connections.byte_budget import OfConnection
from rnnserve.server.connections.connection_turns import ConnectionTurns
from rnnserve.server.connections.held_answers import HeldAnswers
from rnnserve.server.connections.pooled_call import CallOfThread, PooledCall
from rnnserve.server.connections.receiving_turns import ReceivingTurns
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
connection with the most of these on which no bytes arrive."""


class CallPool(futures.ThreadPoolExecutor, HeldAnswers):
    """Threads that answer calls, and those that refuse what is too much.

    Attributes:
        taken: How many calls it has taken so far.
        in_hand: How many it has now: those that have a thread, and those that wait for one.
        capacity: How many may be.
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
        HeldAnswers.__init__(self)
        self._clock = clock
        super().__init__(threads)  # grpcio wants a pool of this class; the threads are our own
        self._threads_of_calls = ThreadStack(threads, name, self._run_next)
        self._at_once = min(threads, capacity)
        self.capacity = capacity
        self._full = full
        self._of_connection = of_connection
        self._hopeless_seconds = _HOPELESS_SECONDS if hopeless_seconds is None else hopeless_seconds
        self._max_wait = max_wait
        self._crowd = threads // 2 if hopeless_seconds is None else 1
        self.at_work: contextlib.AbstractContextManager[Any] = (
            contextlib.nullcontext() if at_work is None else threading.Semaphore(at_work)
        )
        self.in_hand = self.taken = 0
        self._lock = threading.Lock()
        # Of these, the ungrouped have a thread each, or one that is woken.
        self._waiting: ConnectionTurns[PooledCall] = ConnectionTurns()
        self._has_thread: Counter[Hashable] = Counter()  # calls by connection, where that is limited
        self._has_refused = False
        self._refusing = futures.ThreadPoolExecutor(_REFUSING_THREADS, thread_name_prefix=f"{name} refusing")
        self._on_thread = CallOfThread()
        self._turns = ReceivingTurns(clock)
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
        if not self._take_free(call):
            self._queue(call)
        if not self._has_come.is_set():
            self._has_come.set()
        return future

    def bound_receiving(self, at_most: int | None) -> None:
        """Receive no more messages at once from now on, and one after a large one; None for as many as at first."""
        self._turns.bound(at_most)

    def receive(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        """Wait for a call's message, on the thread that has the call.

        Raises:
            ServeError: What the pool was made with, if the call is one too many.
            WaitTooLong: If its turn has come too late.
            Unsupported: If the caller has ended its side without one.
            Cancelled: If the call has ended, or has given way to others.
        """
        message = self.receive_next(messages, context)
        if message is None:
            raise Unsupported("the method requires exactly one request message.")
        return message

    def receive_next(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes | None:
        """Wait for a call's next message; None where its caller has ended its side.

        Raises:
            ServeError: What the pool was made with, if the call is one too many.
            WaitTooLong: If its turn has come too late.
            Cancelled: If the call has ended, or has given way to others.
        """
        self.refuse_if_full()
        if not self._turns.take_free():
            self._turns.wait(self._on_thread.call.connection)
        message = None
        try:
            self._refuse_if_late()
            self.late.receiving[context] = self._clock()
            message = next(messages, None)
        except grpc.RpcError as lost:
            lost.__traceback__ = None  # see `messages_of_stream`
            raise Cancelled("the call ended before its message had arrived") from None
        finally:
            self._count(message)
            self.late.receiving.pop(context, None)
            self._turns.give_back(len(message or b""))
        return message

    def messages_of_stream(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """Give a stream's messages as they come, however long that takes; meanwhile `late` may end it.

        Raises:
            ServeError: What the pool was made with, if the stream is one too many.
            Cancelled: If the call has ended.
        """
        self.refuse_if_full()
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
        with self._lock:
            ungrouped, counts = list(self._waiting.ungrouped), self._waiting.counts()
        contexts = [*list(self.late.receiving), *list(self.late.silent)]
        waiting = [str(connection) for connection, count in counts.items() for _ in range(count)]
        return [call.connection for call in ungrouped] + waiting + [context.peer() for context in contexts]

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
        return self.in_hand > 0 or self._has_refused

    def look(self) -> None:
        """Look at the calls whose messages do not arrive: others do not wait for them. To be called again and again."""
        if not self.is_short_of_memory:
            self._turns.pass_late()
        if self._waiting.grouped or self._has_refused:
            self._has_refused = False
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

    def _take_free(self, call: PooledCall) -> bool:
        """Give a call a thread of those that no call waits for; return whether there was one."""
        if self._of_connection is not None:
            return False
        with self._lock:
            if self._waiting.grouped or self.in_hand >= self._at_once:
                return False
            self.taken += 1
            self.in_hand += 1
            self._waiting.ungrouped.append(call)
        self._threads_of_calls.wake()
        return True

    def _queue(self, call: PooledCall) -> None:
        """Let a call wait for a thread, or have one refused where there are too many."""
        connection = call.connection  # outside of the lock
        with self._lock:
            self.taken += 1
            refused = self._add(connection, call)
        if refused is not None:
            refused.must_refuse = True
            self._refusing.submit(self._run, refused)
        if refused is not call:
            self._threads_of_calls.wake()

    def _add(self, connection: str, call: PooledCall) -> PooledCall | None:
        """Put a call into its connection's queue; give the one that is to be refused where there are too many.

        That is one of the connection with the most calls that wait, so that it cannot keep others out.
        """
        refused = None
        if self.in_hand >= self.capacity:
            self._has_refused = True
            refused = self._waiting.displace(connection)
            if refused is None:
                return call
            self.in_hand -= 1
        self.in_hand += 1
        self._waiting.add(connection, call)
        return refused

    def _take(self) -> PooledCall | None:
        """The next call, of the connections that may have one more thread the one whose turn it is."""
        if self._of_connection is None:
            return self._waiting.pop() if self._waiting else None
        try:
            call = self._waiting.pop(self._may_have_thread)
        except StopIteration:
            return None
        self._has_thread[call.connection] += 1
        return call

    def _may_have_thread(self, connection: Hashable) -> bool:
        return self._has_thread[connection] < (self._of_connection or math.inf)

    def _run_next(self) -> None:
        """Answer calls that may have a thread, in turn: others are taken when one of their connection has ended."""
        with self._lock:
            call = self._take()
        while call is not None:
            self._run(call)
            with self._lock:
                self.in_hand -= 1
                if self._of_connection is not None:
                    self._let_go_of_thread(call.connection)
                call = self._take()

    def _let_go_of_thread(self, connection: str) -> None:
        self._has_thread[connection] -= 1
        if not self._has_thread[connection]:
            del self._has_thread[connection]

    def _run(self, call: PooledCall) -> None:
        self._on_thread.call = call
        call.run()
        del self._on_thread.call

    def _end_hopeless(self) -> None:
        """End calls whose messages do not arrive, where they are enough to matter."""
        receiving, waiting = len(self.late.receiving), self._turns.waiting
        if not receiving or receiving + waiting < self._crowd:
            return
        if receiving < self._crowd and self._clock() - self._turns.received_at < self._hopeless_seconds:
            return  # those that wait for their turn have it soon: large messages take long on a busy machine
        self.late.end_hopeless(self._hopeless_seconds)
