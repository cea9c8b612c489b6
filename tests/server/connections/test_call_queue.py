"""Which call has a thread next: few are worked on, and few messages received, at once, and connections take turns."""

import itertools

import pytest

from kit.call_events import CallEvent
from kit.pooled_messages import Clock
from rnnserve.server.connections.call_queue import CallQueue
from rnnserve.server.connections.pooled_call import PooledCall


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


def test_a_few_are_received_at_once(queue, clock):
    calls = put(queue, *20 * "a")
    assert taken_meanwhile(queue, clock) == calls[:8]
    assert ended(queue, calls[0]) is calls[8]
    assert taken_meanwhile(queue, clock) == []


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
