"""Which call has a thread next: few are worked on, and few messages received, at once, and connections take turns."""

import itertools

import pytest

from kit.call_events import CallEvent
from kit.pooled_messages import Clock
from rnnserve.server.connections.call_queue import CallQueue
from rnnserve.server.connections.pooled_call import PooledCall

LARGE = 1 << 20


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def queue(clock):
    return CallQueue(256, 256, clock=clock)


def put(queue, *connections):
    """Calls of these connections, of which none is refused."""
    calls = [PooledCall(0.0, len, CallEvent(connection)) for connection in connections]
    assert [queue.put(call) for call in calls] == [None] * len(calls)
    return calls


def taken(queue):
    """The calls that may have a thread now."""
    return list(iter(queue.take, None))


def taken_meanwhile(queue, clock):
    """The same, while so little time passes that none is late: as many as may be received at once."""
    calls = []
    for _ in range(4):
        clock.go_on(0.021)
        calls += taken(queue)
    clock.go_on(0.021)
    return calls


def ended(queue, call, received=100):
    """The call that has the thread of one that has ended, whose message had so many bytes."""
    call.received = received
    return queue.end(call)


def test_two_are_worked_on_at_once(queue, clock):
    calls = put(queue, *"aaaaa")
    assert taken(queue) == calls[:2]
    clock.go_on(0.01)
    assert taken(queue) == []
    assert ended(queue, calls[0]) is calls[2]
    assert taken(queue) == []
    assert [ended(queue, call) for call in calls[1:4]] == [calls[3], calls[4], None]
    assert ended(queue, calls[4]) is None
    assert (queue.taken, queue.in_hand) == (5, 0)


def test_one_that_takes_long_keeps_no_other_from_being_worked_on(queue, clock):
    calls = put(queue, *"aaaaa")
    assert taken(queue) == calls[:2]
    clock.go_on(0.03)
    assert ended(queue, calls[1]) is calls[2]  # in its place
    assert taken(queue) == [calls[3]]  # in that of the first
    assert ended(queue, calls[2]) is calls[4]


def test_one_that_has_given_its_turn_back_keeps_no_other(queue):
    calls = put(queue, *"aaaa")
    assert taken(queue) == calls[:2]
    calls[0].received = 100
    queue.give_turn_back(calls[0])
    assert taken(queue) == calls[2:3]
    queue.give_turn_back(calls[0])  # it has none any more
    assert taken(queue) == []
    assert ended(queue, calls[0]) is None
    assert ended(queue, calls[1]) is calls[3]


def test_a_few_are_received_at_once(queue, clock):
    calls = put(queue, *20 * "a")
    assert taken_meanwhile(queue, clock) == calls[:8]
    assert ended(queue, calls[0]) is calls[8]
    assert taken_meanwhile(queue, clock) == []


def test_fewer_after_a_large_message_and_one_more_after_each_small_one(queue, clock):
    calls = put(queue, *20 * "a")
    assert taken_meanwhile(queue, clock) == calls[:8]
    assert [ended(queue, call, LARGE) for call in calls[:6]] == [None] * 6
    assert ended(queue, calls[6], LARGE) is calls[8]
    assert taken_meanwhile(queue, clock) == []
    assert ended(queue, calls[7], 0) is calls[9]
    assert taken_meanwhile(queue, clock) == calls[10:11]


def test_connections_take_turns(queue, clock):
    put(queue, *8 * "a")
    first = taken_meanwhile(queue, clock)
    put(queue, *"aaab")
    order = []
    for call in first[:4]:
        clock.go_on(0.03)
        order.append(ended(queue, call).connection)
    assert order == ["a", "b", "a", "a"]


def test_more_pass_each_time_after_a_large_message(queue, clock):
    put(queue, "a")
    ended(queue, queue.take(), LARGE)
    put(queue, *20 * "a")
    clock.go_on(60)
    assert len(taken_meanwhile(queue, clock)) == 2
    counts = []
    for _ in range(3):
        clock.go_on(0.2)
        queue.pass_late()
        counts.append(len(taken_meanwhile(queue, clock)))
    assert counts == [4, 8, 6]


def test_others_pass_those_that_do_not_arrive_a_while_after_the_last_that_did(queue, clock):
    put(queue, *17 * "a")
    calls = taken_meanwhile(queue, clock)
    calls += [ended(queue, calls[0])]
    queue.pass_late()
    assert taken_meanwhile(queue, clock) == []
    clock.go_on(0.2)
    queue.pass_late()
    calls += taken_meanwhile(queue, clock)
    assert len(calls) == 17
    queue.pass_late()
    for call in calls[1:]:
        assert ended(queue, call, 0) is None
    put(queue, *20 * "a")
    assert len(taken_meanwhile(queue, clock)) == 8  # no more at once than before


def test_no_more_have_threads_than_there_are(clock):
    queue = CallQueue(3, 20, clock=clock)
    calls = put(queue, *"aaaaa")
    assert taken_meanwhile(queue, clock) == calls[:3]
    queue.give_turn_back(calls[0])
    assert taken_meanwhile(queue, clock) == []
    assert queue.waiting() == calls[3:]
    assert ended(queue, calls[0]) is calls[3]


@pytest.mark.parametrize(("of_connection", "expected"), [(None, "aaaab"), (2, "aab")])
def test_a_connection_has_so_many_of_the_threads(clock, of_connection, expected):
    queue = CallQueue(8, 20, of_connection=of_connection, clock=clock)
    put(queue, *"aaaa")
    calls = taken_meanwhile(queue, clock)
    put(queue, "b")
    calls += taken_meanwhile(queue, clock)
    assert "".join(call.connection for call in calls) == expected
    assert queue.is_crowded() == (of_connection is not None)
    next_one = ended(queue, calls[0])
    assert (next_one and next_one.connection) == (None if of_connection is None else "a")


def test_with_too_many_in_hand_one_of_the_connection_with_the_most_is_refused(clock):
    queue = CallQueue(1, 4, clock=clock)
    calls = put(queue, *"aaaa")
    assert queue.take() is calls[0]
    assert not queue.has_refused
    another, third = (PooledCall(0.0, len, CallEvent(connection)) for connection in "ba")
    assert queue.put(another) is calls[3]
    assert queue.has_refused
    assert queue.put(third) is third
    assert (queue.taken, queue.in_hand) == (6, 4)
    order = itertools.accumulate(range(3), lambda call, _: ended(queue, call), initial=calls[0])
    assert list(order) == [calls[0], calls[1], another, calls[2]]


def test_what_would_wait_for_its_message_is_told_as_if_each_had_a_thread_while_there_are_some(clock):
    queue = CallQueue(4, 20, clock=clock)
    put(queue, *6 * "a")
    assert len(taken(queue)) == 2
    assert queue.is_crowded()
    assert [queue.unread(receiving) for receiving in (0, 1, 2)] == [2, 3, 4]
