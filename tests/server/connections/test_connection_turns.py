"""Connections take turns, and the one with the most gives way."""

from collections import Counter, deque

from hypothesis import given
from hypothesis import strategies as st

from rnnserve.server.connections.connection_turns import ConnectionTurns


@given(st.lists(st.tuples(st.sampled_from(["add", "pop", "displace"]), st.integers(0, 5))))
def test_it_is_always_one_of_those_with_most(steps):
    """Compared with a list that is searched each time."""
    turns: ConnectionTurns[tuple[int, int]] = ConnectionTurns()
    waiting: deque[tuple[int, int]] = deque()
    for number, (what, connection) in enumerate(steps):
        counts = Counter(one for one, _ in waiting)
        most = max(counts.values(), default=0)
        if what == "add":
            turns.add(connection, (connection, number))
            waiting.append((connection, number))
        elif what == "pop" and waiting:
            taken = turns.pop()
            assert taken == next(one for one in waiting if one[0] == taken[0])
            waiting.remove(taken)
        elif what == "displace":
            displaced = turns.displace(connection)
            assert (displaced is None) == (most <= counts[connection] + 1)
            if displaced is not None:
                assert counts[displaced[0]] == most
                assert displaced == next(one for one in reversed(waiting) if one[0] == displaced[0])
                waiting.remove(displaced)
        assert len(turns) == len(waiting)
        assert turns.connections == len({one for one, _ in waiting})
