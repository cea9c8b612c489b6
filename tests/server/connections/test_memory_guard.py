"""The guard of the process's memory, and how the C library gives memory back."""

import queue
import threading
import types

import pytest

from rnnserve.common.resident_memory import resident_bytes
from rnnserve.server.connections import memory_guard
from rnnserve.server.connections.memory_guard import Activity, MemoryGuard


@pytest.fixture
def memory(monkeypatch):
    """Resident bytes as the guard sees them, 100 MB at first; what of them is free; and the times it was given back."""
    memory = types.SimpleNamespace(resident=100 << 20, given_back=0, free=0)
    others = set(threading.enumerate()) - {threading.current_thread()}  # guards of servers that other tests share

    def give_back():
        if threading.current_thread() not in others:
            memory.given_back += 1
            memory.resident, memory.free = memory.resident - memory.free, 0

    def resident():
        return resident_bytes() if threading.current_thread() in others else memory.resident

    monkeypatch.setattr(memory_guard, "resident_bytes", resident)
    monkeypatch.setattr(memory_guard, "give_back_free_memory", give_back)
    return memory


IDLE, BUSY = Activity(False, False, False), Activity(True, False, False)
STREAMS, LOADING = Activity(False, True, False), Activity(True, True, True)
EACH = 0.05  # seconds between two looks


class Looking(MemoryGuard):
    """A guard that looks when it is told to, at times of its own."""

    at = 0.0

    def looks(self, seconds=0.3):
        for _ in range(round(seconds / EACH)):
            self.at += EACH
            self.look(self.at)


def test_calls_are_ended_while_memory_is_short(memory):
    asked = queue.Queue()

    def end_late(count):
        asked.put(count)
        memory.resident -= 300 << 20
        return 1

    noted = []
    guard = Looking(500 << 20, lambda: BUSY, end_late, noted.append)
    memory.resident = 600 << 20
    guard.looks()
    assert asked.empty()
    assert set(noted) == {False}
    memory.resident = 1200 << 20
    guard.looks()
    assert (noted.count(True), noted[-1]) == (2, False)
    assert (asked.qsize(), memory.resident) == (2, 600 << 20)
    assert memory.given_back == 2


@pytest.mark.parametrize("first", [IDLE, LOADING])
def test_what_is_there_in_an_idle_moment_or_was_loaded_is_no_shortage(memory, first):
    activity = [first]
    guard = Looking(500 << 20, lambda: activity[0], lambda _: pytest.fail("it ends calls"))
    memory.resident = 900 << 20
    guard.looks()
    activity[0] = BUSY
    memory.resident = 1300 << 20
    guard.looks()


def test_free_memory_is_given_back_in_an_idle_moment(memory):
    activity = [BUSY]
    guard = Looking(500 << 20, lambda: activity[0], lambda _: 0)
    memory.resident = 200 << 20
    guard.looks()
    assert memory.given_back == 0
    activity[0] = IDLE
    guard.looks()
    assert memory.given_back == 1


def test_where_the_system_does_not_tell_there_is_no_guard(monkeypatch):
    monkeypatch.setattr(memory_guard, "resident_bytes", lambda: None)
    guard = Looking(0, lambda: pytest.fail("it looks"), lambda _: 0)
    guard.looks()
