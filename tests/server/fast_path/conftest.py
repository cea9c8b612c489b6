"""What runs requests that do not run on the fast path, a fast path without calls, and models that stand still."""

import dataclasses
import math

import pytest

from kit.held_runs import hold_runs
from rnnserve.server.batching.schedulers import Schedulers
from rnnserve.server.batching.waiting_queue import QueueLimits
from rnnserve.server.fast_path.dispatcher import Dispatcher
from rnnserve.server.protocol.service import Service


@pytest.fixture
def schedulers():
    schedulers = Schedulers(QueueLimits(300, math.inf))
    yield schedulers
    schedulers.close()


@pytest.fixture
def dispatcher(service, schedulers):
    """A fast path without calls, on which 300 may wait for a model."""
    settings = dataclasses.replace(service.settings, max_queue=300)
    return Dispatcher(Service(service.repository, settings), schedulers)


@pytest.fixture
def held(monkeypatch):
    """Models that stand still in a run of 77 steps until they are told to go on."""

    def is_held(_, requests):
        return any(r.sizes.get("sequence") == 77 for r in requests)  # not while loading

    with hold_runs(monkeypatch, is_held) as held:
        yield held
