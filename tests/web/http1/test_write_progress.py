"""Clients that take their answers slowly: a byte now and then keeps none for ever."""

import pytest

from rnnserve.web.http1.limits import HttpLimits
from rnnserve.web.http1.write_progress import WriteProgress

LIMITS = HttpLimits(write_seconds=10, write_rate=1000)


def late_after(taken, sent=1_000_000, seconds=2000):
    """After how many seconds, looked at each second, a client is late that has taken so many bytes by then."""
    progress = WriteProgress(LIMITS)
    progress.sent = sent
    for now in range(seconds):
        if progress.is_late(sent - int(taken(now)), float(now)):
            return now
    return None


@pytest.mark.parametrize(
    ("taken", "seconds"),
    [
        (lambda _: 0, 11),
        (lambda _: 500_000, 11),
        (lambda now: now, 11),  # a byte a second
        (lambda now: 900 * now, 101),
        (lambda now: min(1000 * now, 1_000_000), None),
        (lambda _: 1_000_000, None),
    ],
)
def test_who_is_late(taken, seconds):
    assert late_after(taken) == seconds


def test_events_are_no_backlog_while_they_are_read():
    progress = WriteProgress(LIMITS)
    for now in range(1000):
        progress.sent += 10
        assert not progress.is_late(10 * (now % 2), float(now))


def test_a_backlog_begins_anew_after_all_was_taken():
    progress = WriteProgress(LIMITS)
    progress.sent = 100
    assert not progress.is_late(100, 0.0)
    assert not progress.is_late(0, 9.0)
    assert not progress.is_late(100, 12.0)
    assert progress.is_late(100, 23.0)
