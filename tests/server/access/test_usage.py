"""What the requests of one token take, and may take."""

import pytest

from rnnserve.server.access.access_file import Limits
from rnnserve.server.access.refusals import TokenLimitReached
from rnnserve.server.access.usage import Usage


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_a_rate_is_a_bucket_of_a_second():
    clock = Clock()
    usage = Usage(Limits(rate=2.0), clock)
    for _ in range(2):
        usage.begin()
    with pytest.raises(TokenLimitReached, match="rate = 2") as refused:
        usage.begin()
    assert refused.value.retry_after == pytest.approx(0.5)
    clock.now += 0.5
    usage.begin()
    with pytest.raises(TokenLimitReached):
        usage.begin()
    clock.now += 1000.0
    for _ in range(2):
        usage.begin()
    with pytest.raises(TokenLimitReached):
        usage.begin()
    assert (usage.requests, usage.limited) == (5, 3)


def test_a_slow_rate_lets_one_in():
    clock = Clock()
    usage = Usage(Limits(rate=0.5), clock)
    usage.begin()
    with pytest.raises(TokenLimitReached):
        usage.begin()
    clock.now += 2.0
    usage.begin()


def test_requests_in_flight():
    usage = Usage(Limits(in_flight=2))
    usage.begin()
    usage.begin()
    with pytest.raises(TokenLimitReached, match="in_flight = 2"):
        usage.begin()
    usage.end()
    usage.begin()


def test_bytes_are_paid_for_later():
    clock = Clock()
    usage = Usage(Limits(bytes_per_second=100), clock)
    assert usage.begin()
    usage.count_bytes(250)
    clock.now += 1.0
    with pytest.raises(TokenLimitReached, match="bytes_per_second = 100") as refused:
        usage.begin()
    assert 0.0 < refused.value.retry_after <= 0.5 + 1e-9
    clock.now += 1.0
    usage.begin()


def test_without_limits_requests_are_counted():
    usage = Usage(Limits())
    for _ in range(100):
        assert not usage.begin()
    assert (usage.requests, usage.limited) == (100, 0)
