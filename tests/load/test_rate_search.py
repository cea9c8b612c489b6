from hypothesis import example, given
from hypothesis import strategies as st

from rnnserve.load.rate_search import find_highest_rate


@given(st.integers(1, 200_000), st.sampled_from([100, 1000]))
@example(1, 1000)
@example(99, 100)
@example(101, 100)
def test_search_finds_the_rate_within_five_percent(limit, start):
    tried = []

    def holds(rate):
        tried.append(rate)
        return rate <= limit

    found = find_highest_rate(holds, start, loads=40)
    assert found in tried
    assert found <= limit
    # Rates have three digits, and below 20 a twentieth is less than one.
    assert found >= limit / 1.06 - 1
    assert len(tried) == len(set(tried))


def test_search_gives_up_if_no_rate_holds():
    tried = []
    assert find_highest_rate(lambda rate: tried.append(rate) or False, 100) is None
    assert min(tried) >= 1
    assert len(tried) <= 8


def test_search_tries_no_more_than_loads_and_ends_at_a_million():
    tried = []
    find_highest_rate(lambda rate: tried.append(rate) or True, 100, loads=5)
    assert len(tried) == 5
    assert find_highest_rate(bool, 100, loads=1000) == 1_000_000
