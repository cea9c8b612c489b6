"""Order, turns and bounds of a model's queue."""

import dataclasses
import random

import pytest

from rnnserve.server.batching import MAX_REQUESTS
from rnnserve.server.batching.cost import Cost
from rnnserve.server.batching.fair_queue import FairQueue


@dataclasses.dataclass(frozen=True)
class Item:
    name: str
    rows: int = 1
    steps: int = 1
    connection: str = ""
    may_be_displaced: bool = True


def names(items: list[Item]) -> list[str]:
    return [item.name for item in items]


ENDLESS = Cost(run=1.0, step=0.0, point=0.0, padding=0.0)
"""Of a model whose runs cost the same whatever their size: no batch is ever large enough."""

NOTHING = Cost(run=0.0, step=0.0, point=1.0, padding=0.0)
"""Of a model whose runs cost nothing by themselves."""


def test_without_a_crowd_it_is_first_come_first_served():
    queue: FairQueue[Item] = FairQueue()
    for number in range(5):
        queue.add(Item(str(number)))
    assert names(queue.take(NOTHING)) == ["0", "1", "2"]
    assert len(queue) == 2
    assert names(queue.take(ENDLESS)) == ["3", "4"]
    assert not queue
    assert queue.take(ENDLESS) == []


def test_a_batch_is_half_of_what_waits_or_as_much_as_is_worth_a_run():
    cost = Cost(run=8.0, step=1.0, point=1.0, padding=0.0)
    for length, taken in ((1, 54), (4, 18), (100, 10)):  # 6 * (8 + length) / length, but half of 20 at least
        queue: FairQueue[Item] = FairQueue()
        for number in range(20):
            queue.add(Item(str(number), steps=length))
        assert len(queue.take(cost)) == min(taken, 20)


def test_rows_count_each():
    queue: FairQueue[Item] = FairQueue()
    for number in range(20):
        queue.add(Item(str(number), rows=3, steps=4))
    assert len(queue.take(Cost(run=20.0, step=1.0, point=1.0, padding=0.0))) == 12  # of 12 points: 6 * 24 are enough


def test_the_longest_counts_for_all():
    """Its steps are steps of the run, so more is needed until a run is worth making."""
    cost = Cost(run=0.0, step=1.0, point=1.0, padding=0.0)
    queue: FairQueue[Item] = FairQueue()
    for length in (1, 1, 100, *[1] * 97):
        queue.add(Item("", steps=length))
    assert len(queue.take(cost)) == 100
    for length in [1] * 10:
        queue.add(Item("", steps=length))
    assert len(queue.take(cost)) == 6


def test_a_batch_is_bounded():
    queue: FairQueue[Item] = FairQueue()
    for number in range(1000):
        queue.add(Item(str(number)))
    assert len(queue.take(ENDLESS)) == MAX_REQUESTS


def test_in_a_crowd_connections_take_turns():
    queue: FairQueue[Item] = FairQueue()
    queue.add(Item("before"))
    assert not queue.is_crowded
    for number in range(100):
        queue.add_from("a", Item(f"flood {number}"))
    queue.add_from("b", Item("one of few 0"))
    queue.add_from("b", Item("one of few 1"))
    queue.add_from("c", Item("another 0"))
    assert queue.is_crowded
    assert len(queue) == 104
    first = names(queue.take(NOTHING))
    assert len(first) == 52
    assert first[:7] == ["before", "flood 0", "one of few 0", "another 0", "flood 1", "one of few 1", "flood 2"]
    assert names(queue.take(ENDLESS)) == [f"flood {number}" for number in range(48, 100)]
    assert len(queue) == 0
    assert not queue.is_crowded


def test_a_batch_ends_where_it_would_take_long():
    queue: FairQueue[Item] = FairQueue()
    for number in range(20):
        queue.add(Item(str(number), rows=2, steps=5))
    assert len(queue.take(ENDLESS, most_points=25)) == 3
    assert len(queue.take(ENDLESS)) == 17


def test_one_of_the_connection_with_most_gives_way_also_where_it_came_before_the_crowd():
    queue: FairQueue[Item] = FairQueue()
    for number in range(3):
        queue.add(Item(f"flood {number}", rows=2, connection="a"))
    assert queue.displace(Item("more of it", connection="a")) is None
    assert queue.displace(Item("large", connection="b"), least_points=3) is None
    displaced = queue.displace(Item("one of few", connection="b"))
    assert displaced is not None
    assert displaced.name == "flood 2"
    assert (len(queue), queue.points) == (2, 4)
    assert queue.is_crowded
    queue.add_from("b", Item("one of few", connection="b"))
    assert names(queue.take(ENDLESS)) == ["flood 0", "one of few", "flood 1"]


def test_what_may_not_be_displaced_stays():
    queue: FairQueue[Item] = FairQueue()
    for number in range(3):
        queue.add(Item(f"step {number}", connection="a", may_be_displaced=False))
    assert queue.displace(Item("one of few", connection="b")) is None
    assert queue.has_of("a")
    assert not queue.has_of("b")
    assert len(queue) == 3


def test_who_has_little_waits_for_a_turn_not_for_all():
    queue: FairQueue[Item] = FairQueue()
    assert queue.points_before("b") == 0
    queue.add(Item("", rows=100, connection="a"))
    assert queue.points_before("b") == 100
    for _ in range(99):
        queue.add_from("a", Item("", rows=100, connection="a"))
    assert queue.points_before("a") == 10_000
    assert queue.points_before("b") == 200
    queue.add_from("b", Item("", rows=100, connection="b"))
    assert queue.points_before("b") == 500


LONG = Cost(run=1e-3, step=1e-4, point=1e-3, padding=1e-3)
"""Of a model of which a hundred steps take 0.1 s."""


def test_a_batch_is_of_similar_lengths_among_all_that_wait():
    queue: FairQueue[Item] = FairQueue()
    for number, steps in enumerate([60, 2, 61, 3, 2, 58, 3, 2, 59, 62]):
        queue.add(Item(f"{number}: {steps}", steps=steps))
    assert names(queue.take(LONG)) == ["0: 60", "2: 61", "5: 58", "8: 59", "9: 62"]
    queue.add(Item("10: 60", steps=60))
    queue.add(Item("11: 1", steps=1))
    assert names(queue.take(LONG)) == ["1: 2", "4: 2", "7: 2", "11: 1"]
    assert names(queue.take(LONG)) == ["3: 3", "6: 3"]
    assert names(queue.take(LONG)) == ["10: 60"]
    assert (len(queue), queue.points) == (0, 0)


def test_a_batch_is_of_one_length_where_rows_may_not_be_padded():
    queue: FairQueue[Item] = FairQueue()
    for number in range(9):
        queue.add(Item(str(number), steps=(9, 10, 8)[number % 3]))
    assert names(queue.take(LONG, is_padded=False)) == ["0", "3", "6"]
    assert names(queue.take(LONG, is_padded=False)) == ["1", "4", "7"]


@pytest.mark.parametrize("is_padded", [True, False])
def test_whatever_the_lengths_what_waits_longest_is_next(is_padded):
    draw = random.Random(0)
    queue: FairQueue[Item] = FairQueue()
    waiting: list[Item] = []
    for number in range(300):
        for _ in range(draw.choice((0, 1, 5))):
            item = Item(f"{number}", rows=draw.choice((1, 1, 3)), steps=draw.choice((1, 2, 5, 40, 64, 500)))
            queue.add(item)
            waiting.append(item)
        taken = queue.take(LONG, most_points=700, is_padded=is_padded)
        assert taken[:1] == waiting[:1]
        assert len(taken) <= 1 or sum(item.rows * item.steps for item in taken[:-1]) < 700
        for item in taken:
            waiting.remove(item)
        assert len(queue) == len(waiting)
        assert queue.points == sum(item.rows * item.steps for item in waiting)
        assert [item.name for item in queue] == [item.name for item in waiting]
