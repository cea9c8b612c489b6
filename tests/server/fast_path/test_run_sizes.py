"""How much runs at once on the fast path, by a model's costs, and what runs when another takes its place."""

import dataclasses

import pytest

from kit.fast_paths import asks
from kit.loaded import load_repository
from kit.statistics_numbers import numbers
from rnnserve.server.batching.planning import Cost
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.batching.waiting_queue import QueueLimits, WaitingQueue
from rnnserve.server.fast_path.dispatcher import Dispatcher
from rnnserve.server.protocol.service import Service


def with_cost(service, schedulers, **cost):
    """A dispatcher whose model "direction_simple" has other costs, and that model."""
    models = load_repository(service.settings.repository)
    served = models.find("direction_simple")
    model = dataclasses.replace(served.model, cost=Cost(**cost))
    models.serve(dataclasses.replace(served, model=model))
    return Dispatcher(Service(models, service.settings), schedulers), model


QUICK = {"run": 1e-6, "step": 0.0, "point": 1e-9, "padding": 1e-9}


@pytest.mark.parametrize(("max_points", "runs"), [(24, 1), (23, 2)])
def test_calls_that_run_at_once_are_at_most_max_points(service, schedulers, max_points, runs):
    """8 calls with one prefix, of 3 points each: one run up to the bound, two above it."""
    dispatcher, model = with_cost(service, schedulers, **QUICK, max_points=max_points)
    dispatcher.take([asks()])
    before = numbers(model.statistics, "runs")
    calls = [asks() for _ in range(8)]
    dispatcher.take(calls)
    while dispatcher.work():
        pass
    assert all(isinstance(call.answers[0], bytes) for call in calls)
    assert numbers(model.statistics, "runs") - before == runs
    assert max(model.statistics.sizes) * 3 <= max_points


def test_a_run_on_the_fast_path_takes_no_longer_than_the_fast_path_allows(service, schedulers):
    """Points of 1 ms each, of which 10 ms have room for 9 after the run's own millisecond: three calls of 3."""
    dispatcher, model = with_cost(service, schedulers, run=1e-3, step=0.0, point=1e-3, padding=0.0)
    calls = [asks() for _ in range(8)]
    dispatcher._queues[model] = WaitingQueue(QueueLimits(100, 100.0))  # as of a model whose runs are known to be short
    dispatcher.take(calls)
    while dispatcher.work():
        pass
    assert all(isinstance(call.answers[0], bytes) for call in calls)
    assert max(model.statistics.sizes) == 3


def test_what_serves_may_change(service, schedulers):
    """What was kept of a model is dropped when another takes its place."""
    dispatcher, model = with_cost(service, schedulers, **QUICK)
    dispatcher.take([asks()])
    dispatcher.take([asks()])
    models = dispatcher._admission._service.repository
    other = dataclasses.replace(model, version="2", statistics=Statistics())
    models.serve(dataclasses.replace(models.find("direction_simple"), model=other))
    call = asks()
    dispatcher.take([call])
    while dispatcher.work():
        pass
    assert b"\x12\x012" in call.answers[0]  # model_version "2"
    assert (numbers(model.statistics, "requests"), numbers(other.statistics, "requests")) == (2, 1)
