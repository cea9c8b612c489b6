"""Connections take turns."""

import pytest

from rnnserve.server.batching.connection_turns import ConnectionTurns


def test_each_connection_has_its_turn_and_its_own_order():
    turns: ConnectionTurns[str] = ConnectionTurns()
    for name in ("a1", "a2", "a3", "b1", "b2", "c1"):
        turns.add(name[0], name)
    assert (len(turns), turns.count_of("a"), turns.count_of("z")) == (6, 3, 0)
    assert [turns.pop() for _ in range(3)] == ["a1", "b1", "c1"]
    turns.add("c", "c2")
    assert [turns.pop() for _ in range(len(turns))] == ["a2", "b2", "c2", "a3"]
    assert not turns
    with pytest.raises(StopIteration):
        turns.pop()
