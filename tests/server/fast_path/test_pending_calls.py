"""Whether a request on the fast path is late by its caller's deadline or by its own time-out."""

import dataclasses
import math

import pytest

from kit.checked_requests import checked_request
from rnnserve.server.batching.pending import reason_to_drop
from rnnserve.server.errors import DeadlinePassed, TimeoutExpired
from rnnserve.server.fast_path.pending import ParsedCall


class Call:
    """A call with a deadline, of which no more is used."""

    def __init__(self, deadline):
        self.deadline = deadline


def waiting(call, request):
    return ParsedCall(call, None, request, 10.0)


@pytest.mark.parametrize(
    ("deadline", "timeout", "late_after", "error"),
    [
        (20.0, math.inf, 20.0, DeadlinePassed),
        (20.0, 15.0, 20.0, DeadlinePassed),
        (20.0, 2.5, 12.5, TimeoutExpired),
        (1e18, 2.5, 12.5, TimeoutExpired),  # no deadline
    ],
)
def test_the_earlier_of_deadline_and_timeout_counts(deadline, timeout, late_after, error):
    request = dataclasses.replace(checked_request(1, 4, {}, ("logits",)), timeout=timeout)
    pending = waiting(Call(deadline), request)
    assert reason_to_drop(pending, late_after) is None
    assert isinstance(reason_to_drop(pending, late_after + 0.1), error)
