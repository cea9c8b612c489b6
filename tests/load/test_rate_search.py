import pytest

from rnnserve.load.rate_search import find_highest_rate


@pytest.mark.parametrize("limit", [1, 3, 99, 100, 101, 777, 5000, 123_456])
@pytest.mark.parametrize("start", [100, 1000])
def test_the_search_finds_the_rate_within_five_percent(limit, start):
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


def test_the_search_gives_up_where_no_rate_holds():
    tried = []
    assert find_highest_rate(lambda rate: tried.append(rate) or False, 100) is None
    assert min(tried) >= 1
    assert len(tried) <= 8


@pytest.mark.parametrize("loads", [1, 2, 5])
def test_the_search_is_bounded(loads):
    tried = []
    find_highest_rate(lambda rate: tried.append(rate) or True, 100, loads=loads)
    assert len(tried) == loads


def test_a_server_that_holds_everything_ends_the_search_too():
    assert find_highest_rate(bool, 100, loads=1000) == 1_000_000
