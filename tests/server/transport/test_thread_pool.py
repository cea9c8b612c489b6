"""A bounded number of threads and of calls: what is too much is refused, and late messages give way."""

import threading

import pytest

from kit.pooled_messages import PATIENCE, Clock, Context, Messages, receiving, result_meanwhile
from kit.waiting import until
from rnnserve.server.errors import Cancelled, TooManyCalls, Unsupported, WaitTooLong
from rnnserve.server.transport.thread_pool import CallPool


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


def test_a_message_is_received(pool):
    assert pool.receive(iter([b"message", b"another"]), Context()) == b"message"
    with pytest.raises(Unsupported, match="requires exactly one request message"):
        pool.receive(iter([]), Context())


def test_a_call_that_ends_before_its_message(pool):
    context = Context()
    context.cancel()
    with pytest.raises(Cancelled):
        pool.receive(Messages(context), context)


def test_a_closed_pool_takes_no_call():
    pool = CallPool(2, 3, "test", TooManyCalls("Test", 3))
    pool.shutdown()
    for _ in range(5):
        with pytest.raises(RuntimeError):
            pool.submit(lambda: None)


def test_a_call_whose_turn_comes_too_late_is_refused_and_keeps_no_turn(clock):
    pool = CallPool(1, 8, "test", TooManyCalls("Test", 8), max_wait=0.1, clock=clock)
    context = Context()
    first = Messages(context)
    try:
        received = pool.submit(receiving(pool), first, context)
        late = [pool.submit(receiving(pool), iter([b"late"]), Context()) for _ in range(4)]
        until(lambda: pool.late.receiving)
        clock.go_on(0.3)
        first.may_come.set()
        assert received.result(PATIENCE) == b"message"
        for one in late:
            with pytest.raises(WaitTooLong, match=r"has waited 0\.3 s for its turn, more than the 0\.1 s .*slow down"):
                one.result(PATIENCE)
        assert [pool.submit(receiving(pool), iter([b"x"]), Context()).result(PATIENCE) for _ in range(9)] == 9 * [b"x"]
    finally:
        pool.shutdown()


def test_calls_whose_messages_do_not_arrive_give_threads_up_that_others_wait_for():
    """Those of the connection that has the most, and not more of them than is needed."""
    clock = Clock()
    pool = CallPool(4, 40, "test", TooManyCalls("Test", 40), clock=clock)
    quiet = Context("quiet")
    kept = pool.submit(receiving(pool), Messages(quiet), quiet)
    contexts = [Context("flooding") for _ in range(6)]
    late = [pool.submit(receiving(pool), Messages(context), context) for context in contexts]
    another = pool.submit(receiving(pool), iter([b"message"]), Context("another"))
    assert result_meanwhile(another, clock) == b"message"
    assert any(context.cancelled.is_set() for context in contexts)
    assert not quiet.cancelled.is_set()
    for context in (*contexts, quiet):
        context.cancel()
    assert all(isinstance(one.exception(PATIENCE), Cancelled) for one in (*late, kept))
    pool.shutdown()
