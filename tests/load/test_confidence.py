import pytest

from rnnserve.load.confidence import largest_count, mean_interval, share_interval


def test_confidence_intervals_match_textbook_values():
    assert tuple(share_interval(0, 528, 0.99)) == pytest.approx((0, 1 - 0.005 ** (1 / 528)))
    assert tuple(share_interval(10, 10, 0.95)) == pytest.approx((0.025**0.1, 1))
    assert tuple(mean_interval([1, 2, 3, 4, 5], 0.99)) == pytest.approx((3 - 3.2556, 3 + 3.2556), abs=1e-4)
    assert mean_interval([7, 7], 0.99) == (7, 7)


@pytest.mark.parametrize(("total", "share"), [(20, 0.01), (1000, 0.01), (1000, 0.5), (50_000, 0.001), (10, 0.0)])
def test_bound_is_the_largest_count_that_the_share_explains(total, share):
    count = largest_count(total, share, 0.99)
    assert share_interval(count, total, 0.99).low <= share < share_interval(count + 1, total, 0.99).low
