"""Fixtures: the runner of requests outside the fast path, a fast path without calls, and models that stand still."""

import contextlib
import dataclasses
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rnnserve.server.batching.schedulers import Schedulers
from rnnserve.server.batching.step_run import StepRun
from rnnserve.server.batching.waiting_queue import QueueLimits
from rnnserve.server.fast_path.dispatcher import Dispatcher
from rnnserve.server.protocol.service import Service
from rnnserve.server.repository.model import Model

_PATIENCE = 20.0


@contextlib.contextmanager
def hold_runs(
    monkeypatch: pytest.MonkeyPatch, is_held: Callable[[Model, Any], bool]
) -> Iterator[tuple[threading.Semaphore, threading.Event]]:
    """Stop the runs for which `is_held` is true. Yield a semaphore of stopped runs, and an event that releases all."""
    started, may_go = threading.Semaphore(0), threading.Event()
    run, advance = Model.run, StepRun.advance

    def hold(model, requests):
        if is_held(model, requests):
            started.release()
            assert may_go.wait(_PATIENCE)

    def held_run(self, requests):
        hold(self, requests)
        return run(self, requests)

    def held_advance(self):
        hold(self._model, [pending.check() for pending in self.pending])
        advance(self)

    monkeypatch.setattr(Model, "run", held_run)
    monkeypatch.setattr(StepRun, "advance", held_advance)
    yield started, may_go
    may_go.set()


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
    """Models that block in runs of 77 steps until they are released."""

    def is_held(_, requests):
        return any(r.sizes.get("sequence") == 77 for r in requests)  # not while loading

    with hold_runs(monkeypatch, is_held) as held:
        yield held
