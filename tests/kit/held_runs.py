"""Runs of models, whole or by steps, that stand still until a test lets them go on."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rnnserve.server.batching.step_run import StepRun
from rnnserve.server.repository.model import Model

__all__ = ["hold_runs"]

_PATIENCE = 20.0


@contextlib.contextmanager
def hold_runs(
    monkeypatch: pytest.MonkeyPatch, is_held: Callable[[Model, Any], bool]
) -> Iterator[tuple[threading.Semaphore, threading.Event]]:
    """Let runs stand still of which `is_held(model, requests)`; gives what each of them releases, and what ends it."""
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
