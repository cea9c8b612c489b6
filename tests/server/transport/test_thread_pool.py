"""A bounded number of threads and of calls: what is too much is refused, and late messages give way."""

import threading

import grpc
import pytest

from rnnserve.server.errors import Cancelled, TooManyCalls, Unsupported
from rnnserve.server.transport.thread_pool import CallPool

PATIENCE = 20.0


class Context:
    """A call's: `cancel` ends the wait of its messages."""

    def __init__(self, connection="ipv4:127.0.0.1:1"):
        self.cancelled = threading.Event()
        self._connection = connection

    def peer(self):
        return self._connection

    def cancel(self):
        self.cancelled.set()


class Messages:
    """A stream whose message comes when it is told, or never: then it ends as grpcio ends it."""

    def __init__(self, context):
        self._context = context
        self.may_come = threading.Event()

    def __next__(self):
        while not self.may_come.is_set():
            if self._context.cancelled.wait(0.01):
                raise grpc.RpcError
        return b"message"


def receive(pool, messages, context):
    return pool.receive(messages, context)


@pytest.fixture
def pool():
    pool = CallPool(2, 3, "test", TooManyCalls("Test", 3))
    yield pool
    pool.shutdown()


def test_as_many_calls_as_may_are_in_hand_and_others_are_refused(pool):
    may_go = threading.Event()

    def call():
        message = pool.receive(iter([b"message"]), Context())
        assert may_go.wait(PATIENCE)
        return message

    taken = [pool.submit(call) for _ in range(3)]
    for _ in range(4):
        with pytest.raises(TooManyCalls, match="3 calls of Test are in hand already; slow down"):
            pool.submit(call).result(PATIENCE)
    may_go.set()
    assert [one.result(PATIENCE) for one in taken] == [b"message"] * 3
    assert pool.submit(call).result(PATIENCE) == b"message"  # there is room again


def test_a_call_that_fails_makes_room_too(pool):
    for _ in range(9):
        with pytest.raises(ZeroDivisionError):
            pool.submit(lambda: 1 / 0).result(PATIENCE)
    assert pool.submit(receive, pool, iter([b"message"]), Context()).result(PATIENCE) == b"message"


def test_a_message_is_received(pool):
    assert pool.receive(iter([b"message", b"another"]), Context()) == b"message"
    with pytest.raises(Unsupported, match="requires exactly one request message"):
        pool.receive(iter([]), Context())


def test_a_call_that_ends_before_its_message(pool):
    context = Context()
    context.cancel()
    with pytest.raises(Cancelled):
        pool.receive(Messages(context), context)


def test_the_next_message_is_received_beside_one_that_does_not_arrive():
    pool = CallPool(32, 32, "test", TooManyCalls("Test", 32))
    contexts = [Context() for _ in range(20)]
    messages = [Messages(context) for context in contexts]
    late = [pool.submit(receive, pool, *one) for one in zip(messages, contexts, strict=True)]
    for _ in range(5):
        assert pool.submit(receive, pool, iter([b"message"]), Context("another")).result(PATIENCE) == b"message"
    assert not any(context.cancelled.is_set() for context in contexts)
    for one in messages:
        one.may_come.set()
    assert [one.result(PATIENCE) for one in late] == [b"message"] * 20
    pool.shutdown()


def test_calls_whose_messages_do_not_arrive_give_threads_up_that_others_wait_for():
    """Those of the connection that has the most, and not more of them than is needed."""
    pool = CallPool(4, 40, "test", TooManyCalls("Test", 40))
    quiet = Context("quiet")
    kept = pool.submit(receive, pool, Messages(quiet), quiet)
    contexts = [Context("flooding") for _ in range(6)]
    late = [pool.submit(receive, pool, Messages(context), context) for context in contexts]
    assert pool.submit(receive, pool, iter([b"message"]), Context("another")).result(PATIENCE) == b"message"
    assert any(context.cancelled.is_set() for context in contexts)
    assert not quiet.cancelled.is_set()
    for context in (*contexts, quiet):
        context.cancel()
    assert all(isinstance(one.exception(PATIENCE), Cancelled) for one in (*late, kept))
    pool.shutdown()


class Event:
    """What grpcio gives to a pool among a call's arguments, as far as the pool looks at it."""

    def __init__(self, connection):
        self.call = self
        self._connection = connection

    def peer(self):
        return self._connection


def test_connections_take_turns_for_a_thread():
    pool = CallPool(1, 40, "test", TooManyCalls("Test", 40))
    may_go = threading.Event()
    order = []
    first = pool.submit(may_go.wait, PATIENCE)
    calls = [pool.submit(lambda event: order.append(event.peer()), Event(b"flooding")) for _ in range(5)]
    calls += [pool.submit(lambda event: order.append(event.peer()), Event(b"quiet"))]
    may_go.set()
    assert first.result(PATIENCE)
    for call in calls:
        call.result(PATIENCE)
    assert order == [b"flooding", b"quiet", *[b"flooding"] * 4]
    pool.shutdown()


def test_a_closed_pool_takes_no_call():
    pool = CallPool(2, 3, "test", TooManyCalls("Test", 3))
    pool.shutdown()
    for _ in range(5):
        with pytest.raises(RuntimeError):
            pool.submit(lambda: None)
