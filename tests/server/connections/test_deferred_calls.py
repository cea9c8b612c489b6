"""Calls whose messages are received later: in the order of their arrival, or connections take turns."""

import pytest

from rnnserve.server.connections.deferred_calls import MOST_IN_ORDER, DeferredCalls


class Call:
    def __init__(self, number, connection, *, may_be_named=True):
        self.number = number
        self._connection = connection
        self._may_be_named = may_be_named

    def peer(self):
        assert self._may_be_named
        return self._connection


def test_few_calls_wait_in_the_order_of_their_arrival_and_are_not_named():
    deferred = DeferredCalls()
    for number in range(MOST_IN_ORDER):
        deferred.add(Call(number, b"x", may_be_named=False), in_turn=False)
    assert [deferred.pop().number for _ in range(MOST_IN_ORDER)] == list(range(MOST_IN_ORDER))
    with pytest.raises(IndexError):
        deferred.pop()


def test_connections_take_turns_after_a_large_message():
    deferred = DeferredCalls()
    for number in range(4):
        deferred.add(Call(number, b"many"), in_turn=False)
    deferred.take_turns()
    deferred.add(Call(9, b"one"), in_turn=True)
    deferred.add(Call(10, b"later", may_be_named=False), in_turn=False)
    assert [deferred.pop().number for _ in range(6)] == [0, 9, 1, 2, 3, 10]
    with pytest.raises(IndexError):
        deferred.pop()


def test_connections_take_turns_where_many_calls_wait():
    deferred = DeferredCalls()
    for number in range(MOST_IN_ORDER + 2):
        deferred.add(Call(number, b"many"), in_turn=False)
    deferred.add(Call(-1, b"one"), in_turn=True)
    assert [deferred.pop().number for _ in range(2)] == [0, -1]
