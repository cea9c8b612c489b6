"""Which requests need not be run, and what their callers are told: a table of times, without a server."""

import math
import types

import pytest

from rnnserve.server.batching.lateness import (
    CANCELLED,
    all_in_time,
    cancelled,
    check_unread,
    earlier,
    reason_to_drop,
    seconds_left,
)
from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.errors import Cancelled, DeadlinePassed, TimeoutExpired

PASSED = "the deadline passed before the request was run"
TIMED_OUT = "Request timeout expired: it waited longer than its parameter timeout, 2500000 microseconds"
ARRIVED = 10.0


class Pending(PendingRequest):
    """A request that waits, whose answers nobody reads."""

    connection = "a"

    def origin(self):
        raise NotImplementedError

    def check(self):
        raise NotImplementedError

    def answer(self, outputs):
        raise NotImplementedError

    refuse = answer


def pending(deadline, timeout):
    deadline, timeout = earlier(deadline, ARRIVED, timeout)
    return Pending(1, 1, deadline, ARRIVED, timeout)


@pytest.mark.parametrize(
    ("deadline", "timeout", "last", "told"),
    [
        (20.0, math.inf, 20.0, DeadlinePassed(PASSED)),
        (20.0, 15.0, 20.0, DeadlinePassed(PASSED)),
        (12.5, 2.5, 12.5, DeadlinePassed(PASSED)),  # both at once
        (20.0, 2.5, 12.5, TimeoutExpired(2.5)),
        (1e18, 2.5, 12.5, TimeoutExpired(2.5)),  # a call without a deadline, on the lane
        (math.inf, 2.5, 12.5, TimeoutExpired(2.5)),  # the same on the public transport
        (9.0, math.inf, 9.0, DeadlinePassed(PASSED)),  # it has passed on arrival
        (9.0, 2.5, 9.0, DeadlinePassed(PASSED)),
        (math.inf, math.inf, math.inf, None),
    ],
)
def test_the_earlier_of_deadline_and_timeout_is_what_a_caller_is_told(deadline, timeout, last, told):
    request = pending(deadline, timeout)
    before = min(last, 1e6)
    assert reason_to_drop(request, before) is None
    assert all_in_time([request], before)
    after = math.nextafter(last, math.inf)
    reason = reason_to_drop(request, after)
    assert (type(reason), str(reason)) == (type(told), str(told))
    assert all_in_time([request], after) == (told is None)
    if isinstance(told, TimeoutExpired):
        assert str(told) == TIMED_OUT


@pytest.mark.parametrize("deadline", [5.0, 20.0, math.inf])
@pytest.mark.parametrize("timeout", [2.5, math.inf])
@pytest.mark.parametrize("at", [0.0, 15.0, 1e9])
def test_one_that_was_cancelled_is_told_so_at_any_time_whatever_else_has_passed(deadline, timeout, at):
    request = pending(deadline, timeout)
    request.cancel()
    reason = reason_to_drop(request, at)
    assert isinstance(reason, Cancelled)
    assert str(reason) == "the request was cancelled before it was run"
    assert not all_in_time([request], at)
    assert seconds_left(request.deadline, at) == math.inf  # its run drops it


def test_one_late_request_among_many_is_enough():
    waiting = [types.SimpleNamespace(deadline=deadline) for deadline in (7.0, math.inf, 5.0)]
    assert all_in_time(waiting, 5.0)
    assert not all_in_time(waiting, 5.5)
    assert all_in_time([], math.inf)


@pytest.mark.parametrize(("at", "left"), [(2.0, 3.0), (5.0, 0.0), (5.5, math.inf)])
def test_what_has_passed_already_is_left_to_the_run(at, left):
    assert seconds_left(5.0, at) == left


def test_an_unread_request_is_refused_just_after_its_deadline():
    check_unread(5.0, 5.0)
    check_unread(math.inf, 1e18)
    for deadline in (4.9, CANCELLED):
        with pytest.raises(DeadlinePassed, match="the deadline passed before the request was read"):
            check_unread(deadline, 5.0)


def test_a_cancelled_request_is_told_what_was_not_done():
    assert str(cancelled("answered")) == "the request was cancelled before it was answered"
