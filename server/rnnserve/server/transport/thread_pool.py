"""Threads for calls the public way: a bounded number, with a bounded number of calls that wait for one.

grpcio's own pool takes any number of calls, first come, first served. Here, connections take turns, and none may take
all threads where that is told. A call that comes when as many wait as may is given to a few threads that only refuse,
or in its place one of the connection that has the most. And a call whose message does not arrive gives way to others.
"""

import contextlib
import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, ParamSpec, TypeVar

import grpc

from rnnserve.server.batching.clock import now
from rnnserve.server.batching.silent_callers import SILENT_SECONDS, crowded_first
from rnnserve.server.errors import Cancelled, ServeError, Unsupported, WaitTooLong
from rnnserve.server.transport.receiving_turns import ReceivingTurns

__all__ = ["CallPool"]

P = ParamSpec("P")
R = TypeVar("R")

_REFUSING_THREADS = 2

_HOPELESS_SECONDS = 0.5
"""Seconds after which a call whose message has not arrived is ended, where others wait for a thread: a call of the
connection with the most of these. Its caller hears CANCELLED: grpcio has no other way to end a call from outside of its
handler."""

_ENDED_AT_ONCE = 8
"""Calls that are ended between two looks."""

_LOOK_SECONDS = 0.05


class _WaitingCall:
    """A call that waits for a thread.

    Attributes:
        connection: Names its connection.
        future: What its caller, grpcio, was given.
        run: Answers it.
        refuse: Refuses it.
    """

    __slots__ = ("connection", "future", "refuse", "run")

    def __init__(
        self, connection: str, future: futures.Future[Any], run: Callable[[], Any], refuse: Callable[[], Any]
    ) -> None:
        self.connection = connection
        self.future = future
        self.run = run
        self.refuse = refuse


class _OfThread(threading.local):
    """What a thread of a pool knows of the call that it has.

    Attributes:
        must_refuse: Whether the call is one too many.
        came: When the call came, in seconds on the clock of `batching.clock`.
    """

    must_refuse = False
    came = math.inf


class CallPool(futures.ThreadPoolExecutor):
    """Threads that answer calls, and those that refuse what is too much.

    Attributes:
        taken: How many calls it has taken so far.
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
    ) -> None:
        """Start with no thread.

        Args:
            threads: How many calls have a thread at once.
            capacity: How many calls may be in hand, those that wait for a thread included.
            name: Of the threads.
            full: What further calls are told.
            of_connection: How many calls of one connection have a thread at once; None for all.
            at_work: How many calls whose message has arrived are answered at once; None for all.
            hopeless_seconds: After which a call whose message has not arrived is ended, where others wait for a thread
                or were refused. None is half a second, and only where such calls have half of the threads: for large
                messages.
            max_wait: Seconds that a call may have waited for a thread, and for its turn to be received; later it is
                refused. For calls of one message.
        """
        super().__init__(threads, thread_name_prefix=name)
        self._capacity = capacity
        self._full = full
        self._of_connection = threads if of_connection is None else of_connection
        self._hopeless_seconds = _HOPELESS_SECONDS if hopeless_seconds is None else hopeless_seconds
        self._max_wait = max_wait
        self._crowd = threads // 2 if hopeless_seconds is None else 1
        self.at_work: contextlib.AbstractContextManager[Any] = (
            contextlib.nullcontext() if at_work is None else threading.Semaphore(at_work)
        )
        self._in_hand = self.taken = 0
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[_WaitingCall]] = {}  # by connection, the one whose turn it is first
        self._has_thread: Counter[str] = Counter()  # calls by connection
        self._has_refused = False
        self._refusing = futures.ThreadPoolExecutor(_REFUSING_THREADS, thread_name_prefix=f"{name} refusing")
        self._on_thread = _OfThread()
        self._turns = ReceivingTurns()
        self._receiving: dict[grpc.ServicerContext, float] = {}  # since when
        self._silent: dict[grpc.ServicerContext, float] = {}  # streams that wait for their client: since when
        self._may_answer = threading.Event()
        self._may_answer.set()
        self._is_closed = threading.Event()
        self._has_come = threading.Event()  # a call
        self._watchdog = threading.Thread(target=self._watch, name=f"{name} watchdog", daemon=True)
        self._watchdog.start()

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> futures.Future[R]:
        """Have a call answered, or refused."""
        future: futures.Future[R] = futures.Future()
        came = now()

        def run() -> None:
            self._on_thread.came = came
            _settle(future, fn, *args, **kwargs)

        def refuse() -> None:
            self._on_thread.must_refuse = True
            run()

        call = _WaitingCall(_connection_of(args), future, run, refuse)
        with self._lock:
            self.taken += 1
            refused = self._add(call)
        if not self._has_come.is_set():
            self._has_come.set()
        if refused is not None:
            self._refusing.submit(refused.refuse)
        if refused is not call:
            try:
                super().submit(self._run_next)
            except RuntimeError:  # the pool has been shut down
                with self._lock:
                    self._remove(call)
                raise
        return future

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
            self._turns.wait(context.peer())
        message = None
        try:
            self._refuse_if_late()
            self._receiving[context] = now()
            message = next(messages, None)
        except grpc.RpcError:
            raise Cancelled("the call ended before its message had arrived") from None
        finally:
            self._receiving.pop(context, None)
            self._turns.give_back(len(message or b""))
        return message

    def messages_of_stream(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """Give a stream's messages as they come, however long that takes; meanwhile `end_silent` may end it.

        Raises:
            ServeError: What the pool was made with, if the stream is one too many.
            Cancelled: If the call has ended.
        """
        self.refuse_if_full()
        while True:
            self._silent[context] = now()
            try:
                message = next(messages, None)
            except grpc.RpcError:
                raise Cancelled("the call ended") from None
            finally:
                self._silent.pop(context, None)
            if message is None:
                return
            yield message

    @property
    def has_silent(self) -> bool:
        """Whether calls or streams wait for their clients, on any of which a message may be arriving."""
        return bool(self._silent or self._receiving)

    def end_silent(self, count: int) -> int:
        """End calls and streams from which nothing comes, first those of connections with most of them; say how many.

        Args:
            count: How many at most.
        """
        since = now() - SILENT_SECONDS
        waiting = [*self._receiving.items(), *self._silent.items()]
        late = crowded_first((context, context.peer(), began) for context, began in waiting if began < since)[:count]
        for context in late:
            context.cancel()
        return len(late)

    def refuse_if_full(self) -> None:
        """To be called on the thread that has the call.

        Raises:
            ServeError: What the pool was made with, if the call is one too many.
        """
        if self._on_thread.must_refuse:
            raise self._full

    def _refuse_if_late(self) -> None:
        waited = now() - self._on_thread.came
        if waited > self._max_wait:
            raise WaitTooLong.for_its_turn(waited, self._max_wait)

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
        self._has_come.set()
        self._may_answer.set()
        self._refusing.shutdown(wait, cancel_futures=cancel_futures)
        super().shutdown(wait, cancel_futures=cancel_futures)

    def _add(self, call: _WaitingCall) -> _WaitingCall | None:
        """Put a call into its connection's queue; give the one that is to be refused where there are too many.

        That is one of the connection with the most calls that wait, so that it cannot keep others out.
        """
        refused = None
        if self._in_hand >= self._capacity:
            self._has_refused = True
            longest = max(self._waiting.values(), key=len, default=None)
            if longest is None or len(longest) <= len(self._waiting.get(call.connection, ())) + 1:
                return call
            refused = longest[-1]
            self._remove(refused)
        self._in_hand += 1
        self._waiting.setdefault(call.connection, deque()).append(call)
        return refused

    def _remove(self, call: _WaitingCall) -> None:
        queue = self._waiting[call.connection]
        queue.remove(call)
        if not queue:
            del self._waiting[call.connection]
        self._in_hand -= 1

    def _take(self) -> _WaitingCall | None:
        """The next call, of the connections that may have one more thread the one whose turn it is."""
        for connection, queue in self._waiting.items():
            if self._has_thread[connection] < self._of_connection:
                del self._waiting[connection]
                if len(queue) > 1:
                    self._waiting[connection] = queue  # at the end: the next connection's turn
                self._has_thread[connection] += 1
                return queue.popleft()
        return None

    def _run_next(self) -> None:
        """Answer calls that may have a thread, in turn: others are taken when one of their connection has ended."""
        while True:
            with self._lock:
                call = self._take()
            if call is None:
                return
            call.run()
            with self._lock:
                self._in_hand -= 1
                self._has_thread[call.connection] -= 1
                if not self._has_thread[call.connection]:
                    del self._has_thread[call.connection]

    def _end_hopeless(self) -> None:
        """End calls whose messages do not arrive, where they are enough to matter."""
        receiving = list(self._receiving.items())
        if not receiving or len(receiving) + self._turns.waiting < self._crowd:
            return
        by_connection = Counter(context.peer() for context, _ in receiving)
        (most, _), *_ = by_connection.most_common(1)
        since = now() - self._hopeless_seconds
        hopeless = [context for context, began in receiving if began < since and context.peer() == most]
        for context in hopeless[:_ENDED_AT_ONCE]:
            context.cancel()

    def _watch(self) -> None:
        """Look at the calls now and then, as long as there are some: each look takes Python's lock from the lane."""
        while not self._is_closed.is_set():
            self._has_come.wait()
            self._has_come.clear()
            while (self._in_hand or self._has_refused) and not self._is_closed.wait(_LOOK_SECONDS):
                self._turns.pass_late()
                if self._waiting or self._has_refused:
                    self._has_refused = False
                    self._end_hopeless()


def _settle(future: futures.Future[R], fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> None:
    """Run a call, unless it was cancelled, and tell its future how that went."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(fn(*args, **kwargs))
    except BaseException as error:  # noqa: BLE001 - it is the future's
        future.set_exception(error)


def _connection_of(args: tuple[Any, ...]) -> str:
    """Name the connection of a call by what grpcio passes with it: its event. Empty where it passes something else."""
    for arg in args:
        peer = getattr(getattr(arg, "call", None), "peer", None)
        if peer is not None:
            return str(peer().decode())
    return ""
