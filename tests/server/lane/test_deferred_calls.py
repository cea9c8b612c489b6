"""Calls that are received later: connections take turns, and within one the order stays."""

import pytest

from rnnserve.server.lane.deferred_calls import DeferredCalls


class Call:
    def __init__(self, connection):
        self._connection = connection

    def peer(self):
        return self._connection


def test_connections_take_turns_and_keep_their_order():
    deferred = DeferredCalls()
    for number in range(4):
        deferred.add(Call(b"many"), float(number))
    deferred.add(Call(b"one"), 9.0)
    assert len(deferred) == 5
    assert [deferred.pop()[1] for _ in range(5)] == [0.0, 9.0, 1.0, 2.0, 3.0]
    assert not deferred
    with pytest.raises(StopIteration):
        deferred.pop()
