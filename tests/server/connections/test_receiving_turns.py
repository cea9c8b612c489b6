"""A few messages are received at once, fewer after large ones, and connections take turns."""

import threading
import time

import pytest

from rnnserve.server.connections.receiving_turns import ReceivingTurns

LARGE = 1 << 20


def taken_at_once(turns):
    """Take turns until none is free, and say how many."""
    count = 0
    while turns.take_free():
        count += 1
    return count


def test_a_few_at_once():
    turns = ReceivingTurns()
    assert taken_at_once(turns) == 8
    turns.give_back(100)
    assert taken_at_once(turns) == 1


def test_fewer_after_a_large_message_and_one_more_after_each_small_one():
    turns = ReceivingTurns()
    assert taken_at_once(turns) == 8
    for left in range(7, 1, -1):
        turns.give_back(LARGE)
        assert not turns.take_free(), left
    turns.give_back(LARGE)
    assert taken_at_once(turns) == 1
    turns.give_back(0)
    assert taken_at_once(turns) == 2


@pytest.fixture
def order():
    """Threads that wait for turns note their connection when they have one."""
    return []


def wait_for_turns(turns, connections, order):
    threads = []
    for number, connection in enumerate(connections, turns.waiting + 1):
        threads.append(threading.Thread(target=lambda name=connection: (turns.wait(name), order.append(name))))
        threads[-1].start()
        while turns.waiting < number:
            time.sleep(1e-3)
    return threads


def test_connections_take_turns(order):
    turns = ReceivingTurns()
    taken_at_once(turns)
    threads = wait_for_turns(turns, ["a", "a", "a", "b"], order)
    for count in range(1, 5):
        turns.give_back(0)
        while len(order) < count:
            time.sleep(1e-3)
    assert order == ["a", "b", "a", "a"]
    for thread in threads:
        thread.join()


def test_more_pass_each_time_after_a_large_message(order):
    clock = [100.0]
    turns = ReceivingTurns(lambda: clock[0])
    turns.take_free()
    turns.give_back(LARGE)
    assert taken_at_once(turns) == 2
    clock[0] += 60
    threads = wait_for_turns(turns, ["a"] * 14, order)
    turns.pass_late()
    assert turns.waiting == 14  # they have not waited for long
    left = []
    for _ in range(3):
        clock[0] += 0.2
        turns.pass_late()
        left.append(turns.waiting)
    assert left == [10, 2, 0]
    for thread in threads:
        thread.join()


def test_others_pass_those_that_do_not_arrive_a_while_after_the_last_that_did(order):
    clock = [100.0]
    turns = ReceivingTurns(lambda: clock[0])
    taken_at_once(turns)
    turns.give_back(0)
    turns.take_free()
    threads = wait_for_turns(turns, ["a"] * 9, order)
    turns.pass_late()
    assert turns.waiting == 9
    clock[0] += 0.2
    turns.pass_late()
    assert turns.waiting == 1
    turns.pass_late()
    assert turns.waiting == 1
    clock[0] += 0.2
    turns.pass_late()
    for thread in threads:
        thread.join()
    for _ in range(17):
        turns.give_back(0)
    assert taken_at_once(turns) == 8  # no more at once than before
