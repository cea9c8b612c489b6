import pytest
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


@pytest.mark.parametrize("loads", [1, 2, 5])
def test_search_tries_no_more_than_loads(loads):
    tried = []
    find_highest_rate(lambda rate: tried.append(rate) or True, 100, loads=loads)
    assert len(tried) == loads


def test_search_ends_at_a_million_requests_per_second():
    assert find_highest_rate(bool, 100, loads=1000) == 1_000_000
