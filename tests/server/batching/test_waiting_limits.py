"""How much may wait for a model: requests, seconds, and no longer than until a deadline."""

import math
from typing import Any

import pytest

from rnnserve.server.batching.cost import Cost
from rnnserve.server.batching.fair_queue import FairQueue
from rnnserve.server.batching.waiting_limits import WaitingLimits
from rnnserve.server.clock import now
from rnnserve.server.errors import QueueFull, WaitTooLong

SECOND_A_POINT = Cost(run=0.0, step=0.0, point=1.0, padding=0.0)


class Waiting:
    def __init__(self, rows, steps=1, deadline=math.inf, connection="a", may_be_displaced=True):
        self.rows, self.steps, self.deadline = rows, steps, deadline
        self.connection, self.may_be_displaced = connection, may_be_displaced


def queue_of(*waiting) -> Any:
    queue: FairQueue[Any] = FairQueue()
    for one in waiting:
        queue.add(one)
    return queue


def refused(limits, queue, pending, cost=SECOND_A_POINT):
    """Why the request itself is refused; None where it is not, and none gives way to it."""
    refusal = limits.refusal("walks", cost, queue, pending)
    assert refusal is None or refusal.request is pending
    return refusal and refusal.error


def test_where_nothing_waits_any_request_may():
    limits = WaitingLimits(requests=1, seconds=0.0)
    assert refused(limits, queue_of(), Waiting(10**9, deadline=now() - 1)) is None


def test_as_many_requests_wait_as_may():
    limits = WaitingLimits(requests=2, seconds=math.inf)
    assert refused(limits, queue_of(Waiting(1)), Waiting(1)) is None
    full = refused(limits, queue_of(Waiting(1), Waiting(1)), Waiting(1))
    assert isinstance(full, QueueFull)
    assert str(full) == "walks: 2 requests wait already (--max-queue); slow down"


@pytest.mark.parametrize(("rows", "is_refused"), [(6, False), (7, True)])
def test_what_waits_takes_as_long_as_it_may(rows, is_refused):
    """Six points take 7 s: six of the rows, and a sixth for the runs."""
    limits = WaitingLimits(requests=100, seconds=7.5)
    said = refused(limits, queue_of(Waiting(rows)), Waiting(1))
    assert (said is not None) == is_refused
    if said:
        assert isinstance(said, WaitTooLong)
        assert str(said) == (
            "walks: what waits takes 8.2 s, more than the 7.5 s that a request may wait (--max-wait); slow down"
        )


def test_a_request_that_cannot_make_its_deadline_hears_so_at_once():
    limits = WaitingLimits(requests=100, seconds=100.0)
    queue = queue_of(Waiting(2, steps=3))
    assert refused(limits, queue, Waiting(1, deadline=now() + 60)) is None
    late = refused(limits, queue, Waiting(1, deadline=now() + 5))
    assert isinstance(late, WaitTooLong)
    assert str(late).startswith("walks: what waits takes 7.000 s, and the request's deadline is in ")


def test_one_whose_deadline_has_passed_is_left_to_its_run_which_counts_it():
    assert refused(WaitingLimits(100, 100.0), queue_of(Waiting(6)), Waiting(1, deadline=now() - 1)) is None


def test_where_as_many_wait_as_may_the_newest_of_the_connection_with_most_gives_way():
    limits = WaitingLimits(requests=3, seconds=math.inf)
    flood: list[Any] = [Waiting(1) for _ in range(3)]
    queue = queue_of(*flood)
    assert isinstance(refused(limits, queue, Waiting(1)), QueueFull), "its own connection has most"
    refusal = limits.refusal("walks", SECOND_A_POINT, queue, Waiting(1, connection="b"))
    assert refusal.request is flood[2]
    assert isinstance(refusal.error, QueueFull)
    assert len(queue) == 2


def test_what_waits_takes_no_longer_when_one_gives_way():
    limits = WaitingLimits(requests=100, seconds=5.0)
    heavy: list[Any] = [Waiting(3), Waiting(3)]
    assert isinstance(refused(limits, queue_of(*heavy), Waiting(4, connection="b")), WaitTooLong)
    assert limits.refusal("walks", SECOND_A_POINT, queue_of(*heavy), Waiting(3, connection="b")).request is heavy[1]


def test_steps_of_sequences_do_not_give_way_but_a_connection_of_which_nothing_waits_may_have_one_more():
    limits = WaitingLimits(requests=16, seconds=math.inf)
    queue = queue_of(*[Waiting(1, may_be_displaced=False) for _ in range(16)])
    for connection in ("b", "c"):
        assert refused(limits, queue, Waiting(1, connection=connection)) is None
        assert isinstance(refused(limits, queue, Waiting(1)), QueueFull)
        queue.add_from(connection, Waiting(1, connection=connection))
        assert isinstance(refused(limits, queue, Waiting(1, connection=connection)), QueueFull)
    assert isinstance(refused(limits, queue, Waiting(1, connection="d")), QueueFull), "an eighth, and no more"


def test_a_deadline_is_compared_with_when_its_connection_has_its_turn():
    limits = WaitingLimits(requests=1000, seconds=1000.0)
    queue = queue_of()
    for _ in range(100):
        queue.add_from("a", Waiting(1))
    assert refused(limits, queue, Waiting(1, deadline=now() + 60, connection="b")) is None
    assert isinstance(refused(limits, queue, Waiting(1, deadline=now() + 60)), WaitTooLong)
