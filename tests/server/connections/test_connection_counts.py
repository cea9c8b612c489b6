"""Who has most, whatever is counted."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from rnnserve.server.connections.connection_counts import ConnectionCounts


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 3).filter(bool))))
def test_it_is_one_of_those_with_most(changes):
    counts, expected = ConnectionCounts(), Counter()
    for connection, by in changes:
        if expected[connection] + by >= 0:
            counts.change(connection, by)
            expected[connection] += by
        most = max(expected.values(), default=0)
        fullest = counts.fullest()
        assert expected[fullest] == most if most else fullest is None
        assert all(counts.of(one) == expected[one] for one in range(5))
