"""Requests that need not be run, and the reason that their callers get: a table of times, without a server."""

import itertools
import math

import pytest

from rnnserve.server.batching.execution import PendingRequest, all_in_time, earlier, reason_to_drop
from rnnserve.server.clock import from_wall_clock, now
from rnnserve.server.errors import Cancelled, DeadlinePassed, TimeoutExpired

ARRIVED = 10.0


class Pending(PendingRequest):
    """A request whose answers are ignored."""

    connection = "a"

    def __init__(self, deadline, timeout):
        deadline, timeout = earlier(deadline, ARRIVED, timeout)
        super().__init__(1, 1, deadline, ARRIVED, timeout)

    def check(self):
        raise NotImplementedError

    origin = check

    def answer(self, outputs):
        raise NotImplementedError

    refuse = answer


@pytest.mark.parametrize(
    ("deadline", "timeout", "last", "told"),
    [
        (20.0, math.inf, 20.0, DeadlinePassed),
        (20.0, 15.0, 20.0, DeadlinePassed),
        (12.5, 2.5, 12.5, DeadlinePassed),  # both at once
        (20.0, 2.5, 12.5, TimeoutExpired),
        (1e18, 2.5, 12.5, TimeoutExpired),  # a call without a deadline, on the fast path
        (math.inf, 2.5, 12.5, TimeoutExpired),  # the same with --plain
        (9.0, math.inf, 9.0, DeadlinePassed),  # it has passed on arrival
        (9.0, 2.5, 9.0, DeadlinePassed),
        (math.inf, math.inf, math.inf, type(None)),
    ],
)
def test_earlier_of_deadline_and_timeout_is_reported(deadline, timeout, last, told):
    request = Pending(deadline, timeout)
    before, after = min(last, 1e6), math.nextafter(last, math.inf)
    assert reason_to_drop(request, before) is None
    assert all_in_time([request], before)
    reason = reason_to_drop(request, after)
    assert type(reason) is told
    assert told is not TimeoutExpired or "its parameter timeout, 2500000 microseconds" in str(reason)
    assert all_in_time([request], after) == (told is type(None))


def test_cancelled_request_is_reported_as_cancelled_at_any_time():
    for deadline, timeout, at in itertools.product((5.0, 20.0, math.inf), (2.5, math.inf), (0.0, 15.0, 1e9)):
        request = Pending(deadline, timeout)
        request.cancel()
        for has_begun, before in ((False, "run"), (True, "answered")):
            reason = reason_to_drop(request, at, has_begun=has_begun)
            assert isinstance(reason, Cancelled)
            assert str(reason) == f"the request was cancelled before it was {before}"
        assert not all_in_time([request], at)


def test_wall_clock_time_converts_to_the_monotonic_clock(monkeypatch):
    monkeypatch.setattr("rnnserve.server.clock.time.time", lambda: 1_000_000.0)
    assert from_wall_clock(1_000_003.0) == pytest.approx(now() + 3.0, abs=1.0)
    assert from_wall_clock(math.inf) == math.inf
