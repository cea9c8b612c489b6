"""Runs of models that stand still until a test lets them go on."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rnnserve.server.repository.model import Model

__all__ = ["hold_runs"]

_PATIENCE = 20.0


@contextlib.contextmanager
def hold_runs(
    monkeypatch: pytest.MonkeyPatch, is_held: Callable[[Model, Any], bool]
) -> Iterator[tuple[threading.Semaphore, threading.Event]]:
    """Let runs stand still of which `is_held(model, requests)`; gives what each of them releases, and what ends it."""
    started, may_go, run = threading.Semaphore(0), threading.Event(), Model.run

    def held_run(self, requests):
        if is_held(self, requests):
            started.release()
            assert may_go.wait(_PATIENCE)
        return run(self, requests)

    monkeypatch.setattr(Model, "run", held_run)
    yield started, may_go
    may_go.set()
