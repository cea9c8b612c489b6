"""Calls whose messages are received later: in the order of their arrival, or connections take turns."""

from rnnserve.server.batching import MAX_REQUESTS
from rnnserve.server.lane.deferred_calls import DeferredCalls


class Call:
    def __init__(self, connection, *, may_be_named=True):
        self._connection = connection
        self._may_be_named = may_be_named

    def peer(self):
        assert self._may_be_named
        return self._connection


def test_few_calls_wait_in_the_order_of_their_arrival_and_are_not_named():
    deferred = DeferredCalls()
    for number in range(MAX_REQUESTS):
        deferred.add(Call(b"x", may_be_named=False), float(number), in_turn=False)
    assert len(deferred) == MAX_REQUESTS
    assert [deferred.pop()[1] for _ in range(MAX_REQUESTS)] == [float(number) for number in range(MAX_REQUESTS)]
    assert not deferred


def test_connections_take_turns_after_a_large_message():
    deferred = DeferredCalls()
    for number in range(4):
        deferred.add(Call(b"many"), float(number), in_turn=False)
    deferred.take_turns()
    deferred.add(Call(b"one"), 9.0, in_turn=True)
    deferred.add(Call(b"later", may_be_named=False), 10.0, in_turn=False)
    assert len(deferred) == 6
    assert [deferred.pop()[1] for _ in range(6)] == [0.0, 9.0, 1.0, 2.0, 3.0, 10.0]
    assert not deferred


def test_connections_take_turns_where_many_calls_wait():
    deferred = DeferredCalls()
    for number in range(MAX_REQUESTS + 2):
        deferred.add(Call(b"many"), float(number), in_turn=False)
    deferred.add(Call(b"one"), -1.0, in_turn=True)
    assert [deferred.pop()[1] for _ in range(2)] == [0.0, -1.0]
