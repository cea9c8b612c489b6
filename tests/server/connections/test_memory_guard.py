"""The guard of the process's memory, and how the C library gives memory back."""

import platform
import queue
import subprocess
import sys
import threading
import types

import pytest

from rnnserve.common.resident_memory import resident_bytes
from rnnserve.server.connections import memory_guard
from rnnserve.server.connections.memory_guard import Activity, MemoryGuard

ONE_BLOCK = """
from rnnserve.common.resident_memory import resident_bytes

before = resident_bytes()
block = bytearray(b"x") * (64 << 20)
print(resident_bytes() - before)
"""

SCATTERED_BLOCKS = """
from rnnserve.common.allocation import give_back_free_memory
from rnnserve.common.resident_memory import resident_bytes

blocks = [bytearray(b"x") * (100 << 10) for _ in range(1000)]
kept = blocks[::10]
del blocks
before = resident_bytes()
give_back_free_memory()
print(before - resident_bytes())
"""

BLOCKS_OF_THREADS = """
import sys, threading
from rnnserve.common.allocation import use_few_arenas

if sys.argv[1] == "few":
    assert use_few_arenas()
blocks, together = [], threading.Barrier(8)

def take():
    together.wait()
    blocks.append(bytes(50_000))
    together.wait()

threads = [threading.Thread(target=take) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
(heap,) = [line.split()[0] for line in open("/proc/self/maps") if line.endswith("[heap]\\n")]
start, end = (int(address, 16) for address in heap.split("-"))
print(len({0 if start <= id(block) < end else id(block) >> 26 for block in blocks}))
"""
"""In how many arenas they are: the heap is the first one, each other has pieces of 64 MB."""

LARGE_BLOCKS = """
import sys
from rnnserve.common.allocation import give_back_large_blocks
from rnnserve.common.resident_memory import resident_bytes

if sys.argv[1] == "fixed":
    assert give_back_large_blocks()
largest = [bytearray(b"x") * (20 << 20) for _ in range(3)]  # blocks of this size, too, are kept once one was freed
del largest
before, large, kept = resident_bytes(), [], []
for _ in range(12):
    large.append(bytearray(b"x") * (10 << 20))
    kept.append(bytearray(b"x") * (100 << 10))
del large
print(resident_bytes() - before)
"""


def test_the_resident_memory_of_a_process():
    """One of its own: in that of the tests, guards of servers give memory back at any moment."""
    found = subprocess.run([sys.executable, "-c", ONE_BLOCK], capture_output=True, check=True, text=True).stdout
    assert 50 << 20 < int(found) < 100 << 20


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


def test_no_call_is_ended_for_memory_that_is_free(memory):
    """Ordinary large calls were, on a busy machine, for what gRPC had taken for those before them."""
    guard = Looking(500 << 20, lambda: BUSY, lambda _: pytest.fail("it ends calls"))
    guard.looks()
    assert memory.given_back == 0
    for count in (1, 2):
        memory.free, memory.resident = 60 << 20, 650 << 20
        guard.looks()
        assert (memory.given_back, memory.resident) == (count, 590 << 20)


def test_streams_without_a_request_in_hand_may_be_what_takes_memory(memory):
    asked = queue.Queue()
    guard = Looking(500 << 20, lambda: STREAMS, lambda count: asked.put(count) or 0)
    memory.resident = 1200 << 20
    guard.looks()
    assert asked.qsize()
    assert memory.given_back == 1 + asked.qsize(), "once since it is idle, and each time before streams are ended"


@pytest.mark.parametrize("first", [IDLE, LOADING])
def test_what_is_there_in_an_idle_moment_or_was_loaded_is_no_shortage(memory, first):
    activity = [first]
    guard = Looking(500 << 20, lambda: activity[0], lambda _: pytest.fail("it ends calls"))
    memory.resident = 900 << 20
    guard.looks()
    activity[0] = BUSY
    memory.resident = 1300 << 20
    guard.looks()


class Connections:
    """Connections that keep memory, some of which lie idle."""

    def __init__(self, memory, kept, idle):
        self.memory, self.kept, self.idle, self.counted = memory, kept, idle, 0

    def kept_bytes(self):
        self.counted += 1
        return self.kept

    def end(self, count):
        ended, each = min(count, self.idle), 1 << 20
        self.idle, self.kept = self.idle - ended, self.kept - ended * each
        self.memory.resident -= ended * each
        return ended


@pytest.mark.parametrize("activity", [IDLE, STREAMS, BUSY])
def test_connections_that_lie_idle_are_ended_where_they_keep_much(memory, activity, caplog):
    """What they kept was taken for what the models need: a gigabyte of a thousand."""
    connections = Connections(memory, 900 << 20, 800)
    guard = Looking(500 << 20, lambda: activity, lambda _: 0, idle=connections)
    memory.resident = 1000 << 20
    guard.looks(3.0)
    assert memory.resident == 584 << 20, "as few as are enough: 13 times 32"
    assert connections.idle == 800 - 416
    (line,) = caplog.messages
    assert line == "ended 416 connections that had sent much and lay idle: memory was short"


@pytest.mark.parametrize("then", [IDLE, STREAMS, BUSY])
def test_what_connections_keep_is_not_usual_because_little_of_it_was_there_at_rest(memory, then):
    """Up to twice the memory was kept for good, where the server was at rest while connections came one by one."""
    connections, activity = Connections(memory, 490 << 20, 490), [IDLE]
    guard = Looking(500 << 20, lambda: activity[0], lambda _: 0, idle=connections)
    memory.resident = 590 << 20
    guard.looks()
    assert (connections.counted, connections.idle) == (0, 490)
    activity[0] = then
    connections.kept, memory.resident = 900 << 20, 1000 << 20
    guard.looks(3.0)
    assert memory.resident <= 600 << 20


def test_what_connections_cannot_have_taken_is_no_shortage(memory):
    connections = Connections(memory, 400 << 20, 400)
    guard = Looking(500 << 20, lambda: IDLE, lambda _: pytest.fail("it ends calls"), idle=connections)
    memory.resident = 1500 << 20
    guard.looks(3.0)
    assert (connections.idle, memory.resident) == (400, 1500 << 20)
    assert connections.counted == 3, "once a second, not at each look"


def test_connections_are_not_counted_while_little_is_resident(memory):
    connections = Connections(memory, 900 << 20, 800)
    guard = Looking(500 << 20, lambda: IDLE, lambda _: 0, idle=connections)
    memory.resident = 590 << 20
    guard.looks(3.0)
    assert connections.counted == 0


def test_free_memory_is_given_back_in_an_idle_moment(memory):
    activity = [BUSY]
    guard = Looking(500 << 20, lambda: activity[0], lambda _: 0)
    memory.resident = 200 << 20
    guard.looks()
    assert memory.given_back == 0
    activity[0] = IDLE
    guard.looks()
    assert memory.given_back == 1


def test_what_streams_hold_after_models_were_loaded_is_given_back_when_they_have_ended(memory):
    """It had been taken for what the models need, and stayed for good: 380 MB of messages that did not end."""
    activity = [STREAMS]
    guard = Looking(900 << 20, lambda: activity[0], lambda _: 0, soonest=0.05)
    guard.take_models_into_account()
    memory.resident = 400 << 20
    guard.looks()
    activity[0] = IDLE
    memory.free = 290 << 20
    guard.looks(8.0)
    assert memory.resident == 110 << 20


def test_what_models_need_is_taken_into_account_in_the_first_idle_moment(memory):
    guard = Looking(900 << 20, lambda: IDLE, lambda _: 0, soonest=0.05)
    memory.resident = 300 << 20
    guard.take_models_into_account()
    guard.looks()
    given_back = memory.given_back
    assert given_back
    guard.looks()
    assert memory.given_back == given_back, "nothing is left to give back of what the models need"


def test_what_came_between_loading_and_the_first_idle_moment_is_not_of_the_models(memory):
    """A server that was asked as soon as it had begun took 27 MB of its connections for what its models need."""
    connections, activity = Connections(memory, 900 << 20, 800), [BUSY]
    guard = Looking(500 << 20, lambda: activity[0], lambda _: 0, idle=connections)
    guard.take_models_into_account()
    memory.resident = 400 << 20
    guard.looks()
    activity[0] = IDLE
    guard.looks()
    memory.resident = 1000 << 20
    guard.looks(3.0)
    assert memory.resident <= 600 << 20


def test_memory_that_grows_little_by_little_is_given_back(memory):
    """Each step of it is too small for it."""
    guard = Looking(500 << 20, lambda: IDLE, lambda _: 0)
    memory.resident += 20 << 20
    guard.looks()
    assert memory.given_back == 0
    memory.resident += 20 << 20
    guard.looks()
    assert memory.given_back == 1


def test_what_was_in_use_is_given_back_later(memory):
    """Free memory is given back again and again, but ever less often while nothing comes of it."""
    guard = Looking(500 << 20, lambda: IDLE, lambda _: 0, soonest=0.02)
    memory.resident = 200 << 20
    guard.looks(1.5)
    assert 3 <= memory.given_back <= 7


def test_the_memory_of_models_is_not_given_back_again_and_again(memory):
    guard = Looking(500 << 20, lambda: IDLE, lambda _: 0, soonest=0.02)
    memory.resident = 200 << 20
    guard.take_models_into_account()
    guard.looks(0.5)
    assert memory.given_back == 1


def test_where_the_system_does_not_tell_there_is_no_guard(monkeypatch):
    monkeypatch.setattr(memory_guard, "resident_bytes", lambda: None)
    guard = Looking(0, lambda: pytest.fail("it looks"), lambda _: 0)
    guard.looks()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's function")
def test_free_memory_between_smaller_blocks_is_given_back():
    assert printed_number(SCATTERED_BLOCKS) > 50 << 20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's setting")
def test_threads_take_their_blocks_from_two_arenas():
    assert printed_number(BLOCKS_OF_THREADS, "few") <= 2
    assert printed_number(BLOCKS_OF_THREADS, "many") > 2


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's setting")
def test_large_blocks_are_given_back_which_otherwise_are_kept():
    kept = {how: printed_number(LARGE_BLOCKS, how) for how in ("fixed", "default")}
    assert kept["fixed"] < 16 << 20
    assert kept["default"] > 60 << 20


def printed_number(code, *args):
    """What a Python process of its own prints: what this one has allocated before changes what its C library does."""
    return int(subprocess.run([sys.executable, "-c", code, *args], stdout=-1, timeout=60, check=True).stdout)
