"""A bounded number of threads and of calls: what is too much is refused, and late messages give way."""

import functools
import threading
from collections import Counter

import pytest

from kit.call_events import CallEvent
from kit.pooled_messages import PATIENCE, Context, Messages, receiving, result_meanwhile
from kit.waiting import until
from rnnserve.server.errors import Cancelled, TooManyCalls, Unsupported, WaitTooLong
from rnnserve.server.transport import thread_pool
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


def test_its_messages_are_counted_and_their_bytes_by_connection_where_that_is_asked_for(pool):
    def received(count):
        event = CallEvent("ipv4:127.0.0.1:7")
        calls = [
            pool.submit(lambda _: pool.receive(iter([b"message"]), Context()), event),
            pool.submit(lambda _: list(pool.messages_of_stream(iter([b"a", b"bc"]), Context())), event),
        ]
        assert [call.result(PATIENCE) for call in calls] == [b"message", [b"a", b"bc"]]
        return pool.received.messages == count

    assert received(3)
    pool.received.by_connection = Counter()
    assert received(6)
    assert pool.received.by_connection == {"ipv4:127.0.0.1:7": 10}


def test_the_connections_whose_messages_are_awaited_are_known(pool):
    """Those of calls that have a thread, and of those that wait for one."""
    contexts = [Context(f"ipv4:127.0.0.1:{number}") for number in range(2)]
    calls = [pool.submit(receiving(pool), Messages(context), context) for context in contexts]
    until(lambda: len(pool.late.receiving) == 2)
    waiting = pool.submit(lambda _: None, CallEvent("ipv4:127.0.0.1:7"))
    assert sorted(pool.awaited()) == [f"ipv4:127.0.0.1:{number}" for number in (0, 1, 7)]
    for context in contexts:
        context.cancel()
    for call in calls:
        with pytest.raises(Cancelled):
            call.result(PATIENCE)
    waiting.result(PATIENCE)
    assert pool.awaited() == []


def test_a_call_that_fails_makes_room_too(pool):
    for _ in range(9):
        with pytest.raises(ZeroDivisionError):
            pool.submit(lambda: 1 / 0).result(PATIENCE)
    assert pool.submit(receiving(pool), iter([b"message"]), Context()).result(PATIENCE) == b"message"


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
    late = [pool.submit(receiving(pool), one, one.context) for one in messages]
    for _ in range(5):
        assert pool.submit(receiving(pool), iter([b"message"]), Context("another")).result(PATIENCE) == b"message"
    assert not any(context.cancelled.is_set() for context in contexts)
    for one in messages:
        one.may_come.set()
    assert [one.result(PATIENCE) for one in late] == [b"message"] * 20
    pool.shutdown()


def test_no_more_messages_are_received_beside_late_ones_while_memory_is_short(clock):
    """On a busy machine each message of 15 MB was late, and so many more were received: 48 at once."""
    pool = CallPool(32, 32, "test", TooManyCalls("Test", 32), clock=clock)
    pool.is_short_of_memory = True
    contexts = [Context() for _ in range(20)]
    late = [pool.submit(receiving(pool), Messages(context), context) for context in contexts]
    for at_once in (2, 4, 6, 8, 8, 8):
        until(
            functools.partial(
                lambda count: (len(pool.late.receiving), len(pool.waiting())) == (count, 20 - count), at_once
            )
        )
        clock.go_on()
        pool.look()
    pool.is_short_of_memory = False
    another = pool.submit(receiving(pool), iter([b"message"]), Context("another"))
    assert result_meanwhile(another, clock) == b"message"
    for context in contexts:
        context.cancel()
    assert all(isinstance(one.exception(PATIENCE), Cancelled) for one in late)
    pool.shutdown()


def test_calls_whose_messages_do_not_arrive_give_threads_up_that_others_wait_for(clock):
    """Those of the connection that has the most, and not more of them than is needed."""
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


def test_while_messages_arrive_those_that_take_long_are_not_ended(clock):
    """Large ones on a busy machine, with others that wait for their turn: ordinary calls heard CANCELLED."""
    pool = CallPool(20, 60, "test", TooManyCalls("Test", 60), clock=clock)
    slow = [Context("large") for _ in range(5)]
    slow_messages = [Messages(context) for context in slow]
    taken = [pool.submit(receiving(pool), one, one.context) for one in slow_messages]
    until(lambda: len(pool.late.receiving) == 5, meanwhile=lambda: (clock.go_on(0.01), pool.look()))
    began = clock.at
    for _ in range(12):
        others = [Messages(Context("small")) for _ in range(30)]
        waiting = [pool.submit(receiving(pool), one, one.context) for one in others]
        until(lambda: pool.unread(len(pool.late.receiving)) == 20)
        clock.go_on(thread_pool._HOPELESS_SECONDS / 4)
        pool.look()
        for one in others:
            one.may_come.set()
        assert [one.result(PATIENCE) for one in waiting] == [b"message"] * 30
    assert clock.at - began == pytest.approx(3 * thread_pool._HOPELESS_SECONDS)
    assert not any(context.cancelled.is_set() for context in slow)
    for one in slow_messages:
        one.may_come.set()
    assert [one.result(PATIENCE) for one in taken] == [b"message"] * 5
    pool.shutdown()


def wait_for(_, event, log, name):
    """A call with an event in the place of its message."""
    log.append(name)
    assert event.wait(PATIENCE)
    return name


def test_connections_take_turns():
    pool = CallPool(1, 40, "test", TooManyCalls("Test", 40))
    may_go, log = threading.Event(), []
    calls = [
        pool.submit(wait_for, CallEvent(name[0]), may_go, log, name)
        for name in ("a1", "a2", "a3", "a4", "b1", "b2", "c1")
    ]
    may_go.set()
    assert [call.result(PATIENCE) for call in calls] == ["a1", "a2", "a3", "a4", "b1", "b2", "c1"]
    assert log == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]
    pool.shutdown()


def test_one_connection_has_some_of_the_threads():
    pool = CallPool(3, 40, "test", TooManyCalls("Test", 40), of_connection=2)
    may_go, log = threading.Event(), []
    calls = [pool.submit(wait_for, CallEvent("a"), may_go, log, number) for number in range(6)]
    assert pool.submit(receiving(pool), iter([b"message"]), CallEvent("b")).result(PATIENCE) == b"message"
    assert log == [0, 1]
    may_go.set()
    assert [call.result(PATIENCE) for call in calls] == list(range(6))
    pool.shutdown()


def test_a_call_of_the_connection_with_the_most_is_refused_in_the_place_of_another():
    pool = CallPool(1, 5, "test", TooManyCalls("Test", 5))
    may_go, log = threading.Event(), []
    calls = [pool.submit(ask, CallEvent("a"), pool, may_go, log, number) for number in range(5)]
    with pytest.raises(TooManyCalls):
        pool.submit(ask, CallEvent("a"), pool, may_go, log, 5).result(PATIENCE)  # one of its own
    calls += [pool.submit(ask, CallEvent("b"), pool, may_go, log, number) for number in (6, 7)]
    with pytest.raises(TooManyCalls):
        pool.submit(ask, CallEvent("b"), pool, may_go, log, 8).result(PATIENCE)  # it has as many as the other by now
    for refused in (3, 4):
        with pytest.raises(TooManyCalls):
            calls[refused].result(PATIENCE)
    may_go.set()
    assert [calls[number].result(PATIENCE) for number in (0, 1, 2, 5, 6)] == [0, 1, 2, 6, 7]
    pool.shutdown()


def ask(_, pool, event, log, name):
    pool.receive(iter([b"message"]), Context())
    return wait_for(None, event, log, name)


def test_few_calls_are_answered_at_once():
    pool = CallPool(8, 40, "test", TooManyCalls("Test", 40), at_work=2)
    working, most, may_go = threading.Semaphore(0), [], threading.Event()

    def call():
        with pool.at_work:
            working.release()
            assert may_go.wait(PATIENCE)
            most.append(working._value)

    calls = [pool.submit(call) for _ in range(6)]
    for _ in range(2):
        assert working.acquire(timeout=PATIENCE)
    assert not working.acquire(timeout=0.1)
    may_go.set()
    for one in calls:
        one.result(PATIENCE)
    pool.shutdown()


def test_where_calls_were_refused_those_without_a_message_give_way(clock):
    pool = CallPool(4, 4, "test", TooManyCalls("Test", 4), hopeless_seconds=0.2, clock=clock)
    contexts = [Context() for _ in range(4)]
    late = [pool.submit(receiving(pool), Messages(context), context) for context in contexts]
    until(lambda: len(pool.late.receiving) == 4, meanwhile=lambda: clock.go_on(0.03))

    def is_taken():
        try:
            return pool.submit(receiving(pool), iter([b"message"]), Context()).result(PATIENCE) == b"message"
        except TooManyCalls:
            return False

    assert not is_taken()
    until(is_taken, meanwhile=lambda: clock.go_on(0.05))
    assert isinstance(late[0].exception(PATIENCE), Cancelled)  # the oldest
    for context in contexts:
        context.cancel()
    pool.shutdown()


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
