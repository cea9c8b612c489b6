"""Threads that are given work: the one that became idle last, and never fewer than there is work for."""

import threading
import time

import pytest

from kit.waiting import until
from rnnserve.server.transport.thread_stack import ThreadStack

PATIENCE = 20.0


class Work:
    """Does tasks; each is noted with the thread that did it."""

    def __init__(self):
        self.done = []

    def __call__(self, task):
        task()
        self.done.append(threading.current_thread().name)


@pytest.fixture
def work():
    return Work()


@pytest.fixture
def stack(work):
    stack = ThreadStack(3, "test", work)
    yield stack
    stack.close(wait=True)


def test_work_that_comes_while_all_are_busy_is_not_forgotten(work, stack):
    may_go = threading.Event()
    for _ in range(3):
        stack.give(lambda: may_go.wait(PATIENCE))
    for _ in range(20):
        stack.give(lambda: None)
    assert not work.done
    may_go.set()
    until(lambda: len(work.done) == 23)
    assert set(work.done) <= {"test_0", "test_1", "test_2"}


def test_when_it_is_closed_what_there_is_is_done_and_the_threads_end(work):
    stack = ThreadStack(2, "test", work)
    for _ in range(6):
        stack.give(lambda: time.sleep(0.02))
    stack.close(wait=True)
    assert len(work.done) == 6
    assert not any(thread.is_alive() for thread in stack._threads)
