"""Wrong tokens by address: how long further ones are told to wait, and what is kept of them."""

import pytest

from rnnserve.server.access import failures
from rnnserve.server.access.failures import FailedAttempts

PEER = "ipv4:10.0.0.1:5"


def test_wait_grows_up_to_its_most_and_no_further_during_a_wait(clock):
    attempts, waits = FailedAttempts(2, clock), []
    for _ in range(10):
        waits.append(attempts.note(PEER))
        clock.now += waits[-1]
    assert waits == [0.0, 0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    attempts = FailedAttempts(1, clock)
    assert [attempts.note(PEER) for _ in range(2)] == [0.0, 1.0]
    clock.now += 0.25
    assert [attempts.note(PEER) for _ in range(100)] == [0.75] * 100
    clock.now += 0.75
    assert attempts.note(PEER) == 2.0


def test_address_begins_anew_after_some_time(clock):
    attempts = FailedAttempts(1, clock)
    for _ in range(3):
        attempts.note(PEER)
    clock.now += 601.0
    assert attempts.note(PEER) == 0.0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (PEER, "ipv4:10.0.0.1:6", True),
        (PEER, "http:ipv4:10.0.0.1:6", True),
        (PEER, "ipv4:10.0.0.2:5", False),
        ("ipv6:%5B2001:db8::1%5D:5", "ipv6:%5B2001:db8::ffff:1%5D:6", True),
        ("ipv6:[2001:db8::1]:5", "http:ipv6:%5B2001:db8::2%5D:6", True),
        ("ipv6:%5B2001:db8::1%5D:5", "ipv6:%5B2001:db8:0:1::1%5D:6", False),
        ("ipv6:%5Bfe80::1%25eth0%5D:5", "ipv6:%5Bfe80::2%25eth0%5D:5", True),
        ("ipv6:%5B::ffff:10.0.0.1%5D:5", "ipv4:10.0.0.1:6", True),
        ("unix:", "unix:", True),
        ("", "", True),
    ],
)
def test_addresses_of_one_host_or_network_count_as_one(clock, one, other, same):
    attempts = FailedAttempts(1, clock)
    attempts.note(one)
    assert (attempts.note(other) > 0.0) == same


def test_number_and_length_of_addresses_are_bounded(clock, monkeypatch):
    monkeypatch.setattr(failures, "_MOST_ADDRESSES", 10)
    attempts = FailedAttempts(1, clock)
    for number in range(1000):
        attempts.note(f"ipv4:10.0.{number // 250}.{number % 250}:5")
        attempts.note(f"{'x' * 10_000}{number}")
    assert len(attempts._kept) == 10
    assert max(len(address) for address in attempts._kept) <= 64
