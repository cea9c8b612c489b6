"""What a run costs, in seconds, and how much is worth one."""

import math

import pytest

from rnnserve.server.batching.cost import _ROWS_TO_FIXED, Cost
from rnnserve.server.clock import from_wall_clock, now

COST = Cost(run=10.0, step=2.0, point=0.5, padding=0.25)


def test_a_run_costs_itself_its_steps_and_its_points():
    assert COST.of(rows=4, steps=3) == 10 + 3 * 2 + 12 * 0.5


def test_points_within_a_time_are_those_of_one_row():
    assert COST.points_within(15.0) == 5 / 2.5
    assert COST.of(rows=1, steps=2) == 15.0
    assert COST.points_within(10.0) == COST.points_within(3.0) == 0.0
    assert Cost(run=1.0, step=0.0, point=0.0, padding=0.0).points_within(2.0) == math.inf


def test_enough_is_when_the_points_outweigh_what_every_run_costs():
    assert COST.enough(3) == _ROWS_TO_FIXED * (10 + 3 * 2) / 0.5
    assert Cost(run=1.0, step=0.0, point=0.0, padding=0.0).enough(3) == math.inf


def test_a_run_has_65536_points_at_most():
    assert COST.max_points == 2**16


def test_what_waits_takes_its_points_and_the_runs_that_are_worth_making():
    assert COST.seconds_of_queue(600) == pytest.approx(700 * COST.point)
    assert COST.points_taking(COST.point * 5) == pytest.approx(5)
    assert Cost(run=1.0, step=0.0, point=0.0, padding=0.0).points_taking(1.0) == math.inf


def test_wall_clock_times_become_times_of_the_one_clock(monkeypatch):
    monkeypatch.setattr("rnnserve.server.clock.time.time", lambda: 1_000_000.0)
    assert from_wall_clock(1_000_003.0) == pytest.approx(now() + 3.0, abs=1.0)
    assert from_wall_clock(math.inf) == math.inf
