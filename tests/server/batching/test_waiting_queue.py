"""A model's queue: its order, how large a batch is, and how much may wait."""

import dataclasses
import math
import random

import pytest

from rnnserve.server.batching.execution import Cost
from rnnserve.server.batching.waiting_queue import QueueLimits, WaitingQueue
from rnnserve.server.clock import now
from rnnserve.server.errors import QueueFull, WaitTooLong


@dataclasses.dataclass(frozen=True, eq=False)
class Item:
    """A request as the queue sees it."""

    name: str = ""
    rows: int = 1
    steps: int = 1
    connection: str = "a"
    deadline: float = math.inf


def names(items: list[Item]) -> list[str]:
    return [item.name for item in items]


ENDLESS_LIMITS = QueueLimits(10**6, math.inf)


def queue_of(*items: Item, limits: QueueLimits = ENDLESS_LIMITS) -> WaitingQueue[Item]:
    queue: WaitingQueue[Item] = WaitingQueue(limits)
    for item in items:
        queue.add(item)
    return queue


ENDLESS = Cost(run=1.0, step=0.0, point=0.0, padding=0.0)
"""Of a model whose runs cost the same whatever their size: no batch is ever large enough."""

NOTHING = Cost(run=0.0, step=0.0, point=1.0, padding=0.0)
"""Of a model whose runs cost nothing by themselves: a second a point."""

LONG = Cost(run=1e-3, step=1e-4, point=1e-3, padding=1e-3)
"""Of a model of which a hundred steps take 0.1 s."""


def test_requests_leave_in_order_of_arrival():
    queue = queue_of(*[Item(str(number)) for number in range(5)])
    assert names(queue.take(NOTHING)) == ["0", "1", "2"]
    assert len(queue) == 2
    assert names(queue.take(ENDLESS)) == ["3", "4"]
    assert not queue
    assert queue.take(ENDLESS) == []


def test_batch_has_similar_lengths():
    queue = queue_of(*[Item(str(number), steps=n) for number, n in enumerate([60, 2, 61, 3, 2, 58, 3, 2, 59, 62])])
    assert names(queue.take(LONG)) == ["0", "2", "5", "8", "9"]
    queue.add(Item("10", steps=60))
    queue.add(Item("11", steps=1))
    assert names(queue.take(LONG)) == ["1", "4", "7", "11"]
    assert names(queue.take(LONG)) == ["3", "6"]
    assert names(queue.take(LONG)) == ["10"]
    assert (len(queue), queue.points) == (0, 0)


@pytest.mark.parametrize("is_padded", [True, False])
def test_oldest_request_is_always_next(is_padded):
    draw, queue = random.Random(0), queue_of()
    waiting: list[Item] = []
    for _ in range(300):
        for _ in range(draw.choice((0, 1, 5))):
            waiting.append(Item(rows=draw.choice((1, 1, 3)), steps=draw.choice((1, 2, 5, 40, 64, 500))))
            queue.add(waiting[-1])
        taken = queue.take(LONG, most_points=700, is_padded=is_padded)
        assert taken[:1] == waiting[:1]
        assert len(taken) <= 1 or sum(item.rows * item.steps for item in taken[:-1]) < 700
        for item in taken:
            waiting.remove(item)
        assert queue.points == sum(item.rows * item.steps for item in waiting)
        assert list(queue) == waiting


def refused(queue, item):
    return queue.refusal("walks", NOTHING, item)


def test_any_request_may_enter_an_empty_queue():
    assert refused(queue_of(limits=QueueLimits(1, 0.0)), Item(rows=10**9, deadline=now() - 1)) is None


def test_full_queue_refuses():
    limits = QueueLimits(requests=2, seconds=math.inf)
    assert refused(queue_of(Item(), limits=limits), Item()) is None
    full = refused(queue_of(Item(), Item(), limits=limits), Item(connection="b"))
    assert isinstance(full, QueueFull)
    assert "2 requests are already pending (--max-queue)" in str(full)


def test_one_connection_gets_at_most_a_quarter_of_the_queue():
    queue = queue_of(limits=QueueLimits(requests=80, seconds=math.inf))
    for _ in range(20):
        assert refused(queue, Item()) is None
        queue.add(Item())
    full = refused(queue, Item())
    assert isinstance(full, QueueFull)
    assert "20 requests of this connection are already pending (a quarter of --max-queue)" in str(full)
    for number in range(60):
        other = Item(connection=f"other {number}")
        assert refused(queue, other) is None
        queue.add(other)
    assert refused(queue, Item(connection="last")) is not None
    assert len(queue.take(ENDLESS, most_points=2)) == 2
    assert refused(queue, Item()) is None, "18 of its requests are left"


def test_request_is_refused_when_the_queue_would_take_too_long():
    """Six points take 7 s: six of the rows, and a sixth for the runs."""
    limits = QueueLimits(requests=100, seconds=7.5)
    assert refused(queue_of(Item(rows=6), limits=limits), Item()) is None
    said = refused(queue_of(Item(rows=7), limits=limits), Item())
    assert isinstance(said, WaitTooLong)
    assert "pending requests take 8.2 s, but a request may wait only 7.5 s (--max-wait)" in str(said)


def test_request_that_cannot_make_its_deadline_is_refused():
    queue = queue_of(Item(rows=2, steps=3), limits=QueueLimits(requests=1000, seconds=1000.0))
    assert refused(queue, Item(deadline=now() + 60)) is None
    late = refused(queue, Item(deadline=now() + 5))
    assert isinstance(late, WaitTooLong)
    assert "pending requests take 7.000 s, but the request's deadline is in " in str(late)
    assert refused(queue, Item(deadline=now() - 1)) is None  # its run drops it, and counts it
