"""The byte budget of each connection and of all, and the memory guard: which calls it ends, and when."""

import pytest

from rnnserve.server.connections import byte_budget
from rnnserve.server.connections.byte_budget import ByteBudget, MemoryGuard, bytes_for_requests
from rnnserve.server.errors import TooMuchHeld

MB = 1 << 20
HELD = 100 * MB
BEYOND = HELD + 144 * MB


def test_one_connection_gets_at_most_half_of_the_budget():
    budget = ByteBudget(1000)
    budget.take("a", 500)
    with pytest.raises(TooMuchHeld, match="of this connection take 500 bytes of the 500 allowed"):
        budget.take("a", 1)
    budget.take("b", 500)
    assert budget.held == 1000


def test_all_connections_share_the_budget():
    budget = ByteBudget(1000)
    for connection in "abc":
        budget.take(connection, 333)
    with pytest.raises(TooMuchHeld, match="take 999 bytes of this server's 1,000"):
        budget.take("d", 2)
    assert budget.held == 999
    budget.take("d", 1)


def test_refused_bytes_are_not_counted():
    budget = ByteBudget(1000)
    for _ in range(3):
        with pytest.raises(TooMuchHeld):
            budget.take("a", 501)
    assert budget.held == 0
    assert not budget._held


class Process:
    """A process with `used` and `free` memory. It returns the free memory on request."""

    def __init__(self):
        self.used, self.free = 500 * MB, 0
        self.is_busy = self.is_loading = False
        self.ended = []
        self.at = 0.0

    def resident(self):
        return self.used + self.free

    def give_back(self):
        self.free = 0

    def end(self, count):
        self.ended.append(count)
        return count


@pytest.fixture
def process(monkeypatch):
    process = Process()
    monkeypatch.setattr(byte_budget, "resident_bytes", process.resident)
    monkeypatch.setattr(byte_budget, "give_back_free_memory", process.give_back)
    return process


@pytest.fixture
def guard(process):
    return MemoryGuard(HELD, lambda: process.is_busy, lambda: process.is_loading, process.end, lambda: process.at)


def test_calls_are_ended_when_used_memory_exceeds_the_limit(process, guard):
    process.is_busy = True
    process.used += BEYOND
    guard.look()
    assert process.ended == []
    process.used += 1
    guard.look()
    assert process.ended == [8]


def test_number_of_ended_calls_grows_with_the_excess_memory(process, guard):
    process.is_busy = True
    process.used += BEYOND + 40 * MB
    guard.look()
    assert process.ended == [18]


def test_no_call_is_ended_while_memory_is_free(process, guard):
    process.is_busy, process.free = True, BEYOND + 1
    guard.look()
    assert process.ended == []


@pytest.mark.parametrize("state", ["is_loading", "idle"])
def test_loading_and_idling_end_no_calls(process, guard, state):
    process.is_loading = state == "is_loading"
    process.used += 2 * BEYOND
    guard.look()
    process.is_loading, process.is_busy = False, True
    guard.look()
    assert process.ended == []
    process.used += BEYOND + 1
    guard.look()
    assert process.ended == [8]


def test_idle_server_returns_free_memory_at_intervals(process, guard):
    process.at, process.free = 10.0, 64 * MB
    guard.look()
    assert process.free == 0
    process.free = 64 * MB
    guard.look()
    assert process.free == 64 * MB, "it was given back a moment ago"
    process.at += 5
    guard.look()
    assert process.free == 0


@pytest.mark.parametrize(
    ("left", "expected"), [(None, HELD), (4 * BEYOND, HELD), (2 * (BEYOND - MB), HELD - MB), (0, 8 * MB)]
)
def test_budget_shrinks_to_the_containers_memory_limit(monkeypatch, caplog, left, expected):
    monkeypatch.setattr("rnnserve.common.cgroup.Cgroups.memory_left", lambda _: left)
    assert bytes_for_requests(HELD, sharers=2) == expected
    assert ("raise the limit by" in caplog.text) == (expected < HELD)
