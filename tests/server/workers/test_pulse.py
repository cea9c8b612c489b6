"""The pulse tells a thread that stands still from one that waits."""

import pytest

from rnnserve.server.workers import pulse
from rnnserve.server.workers.pulse import Pulse


def watching(turns):
    return Pulse({"the lane's thread": turns}, list)


@pytest.fixture
def clock(monkeypatch):
    """How far the wall clock is ahead of the monotonic one."""
    clock = [1000.0]
    monkeypatch.setattr(pulse, "_clock_offset", lambda: clock[0])
    return clock


def test_a_lane_that_turns_has_a_pulse_and_one_that_does_not_has_none(clock):
    turns = iter([1, 2, 2, 2, 3])
    watched = watching(lambda: next(turns))
    still = "the lane's thread makes no turns"
    assert [watched.complaint() for _ in range(5)] == [None, None, still, still, None]


def test_a_wall_clock_that_was_set_back_excuses_the_lane_until_its_next_turn(clock):
    turns = [1]
    watched = watching(lambda: turns[0])
    assert watched.complaint() is None
    clock[0] -= 3600
    assert [watched.complaint() for _ in range(3)] == [None] * 3
    turns[0] = 2
    assert [watched.complaint() for _ in range(2)] == [None, "the lane's thread makes no turns"]


def test_each_thread_is_watched(clock):
    turns = {"one": 1, "another": 1}
    watched = Pulse({"one": lambda: turns["one"], "another": lambda: turns["another"]}, list)
    assert watched.complaint() is None
    turns["one"] = 2
    assert watched.complaint() == "another makes no turns"
    turns["another"] = 2
    assert watched.complaint() == "one makes no turns"
