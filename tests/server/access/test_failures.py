"""Wrong tokens by address: how long further ones are told to wait, and what is kept of them."""

import pytest

from rnnserve.server.access import failures
from rnnserve.server.access.failures import FailedAttempts


def test_the_wait_grows_up_to_its_most(clock):
    attempts = FailedAttempts(2, clock)
    waits = []
    for _ in range(10):
        waits.append(attempts.note("ipv4:10.0.0.1:5"))
        clock.now += waits[-1]
    assert waits == [0.0, 0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_what_comes_during_a_wait_does_not_make_it_longer(clock):
    attempts = FailedAttempts(1, clock)
    attempts.note("ipv4:10.0.0.1:5")
    assert attempts.note("ipv4:10.0.0.1:5") == 1.0
    clock.now += 0.25
    assert [attempts.note("ipv4:10.0.0.1:5") for _ in range(100)] == [0.75] * 100
    clock.now += 0.75
    assert attempts.note("ipv4:10.0.0.1:5") == 2.0


def test_an_address_begins_anew_after_some_time(clock):
    attempts = FailedAttempts(1, clock)
    for _ in range(3):
        attempts.note("ipv4:10.0.0.1:5")
    clock.now += 601.0
    assert attempts.note("ipv4:10.0.0.1:5") == 0.0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("ipv4:10.0.0.1:5", "ipv4:10.0.0.1:6", True),
        ("ipv4:10.0.0.1:5", "http:ipv4:10.0.0.1:6", True),
        ("ipv4:10.0.0.1:5", "ipv4:10.0.0.2:5", False),
        ("ipv6:%5B2001:db8::1%5D:5", "ipv6:%5B2001:db8::ffff:1%5D:6", True),
        ("ipv6:[2001:db8::1]:5", "http:ipv6:%5B2001:db8::2%5D:6", True),
        ("ipv6:%5B2001:db8::1%5D:5", "ipv6:%5B2001:db8:0:1::1%5D:6", False),
        ("ipv6:%5Bfe80::1%25eth0%5D:5", "ipv6:%5Bfe80::2%25eth0%5D:5", True),
        ("ipv6:%5B::ffff:10.0.0.1%5D:5", "ipv4:10.0.0.1:6", True),
        ("unix:", "unix:", True),
        ("", "", True),
    ],
)
def test_what_counts_as_one_address(clock, one, other, same):
    attempts = FailedAttempts(1, clock)
    attempts.note(one)
    assert (attempts.note(other) > 0.0) == same


def test_what_is_kept_is_bounded(clock, monkeypatch):
    monkeypatch.setattr(failures, "_MOST_ADDRESSES", 10)
    attempts = FailedAttempts(1, clock)
    for number in range(1000):
        attempts.note(f"ipv4:10.0.{number // 250}.{number % 250}:5")
        attempts.note(f"{'x' * 10_000}{number}")
    assert len(attempts._kept) == 10
    assert max(len(address) for address in attempts._kept) <= 64
