"""Requests of a model whose sequences may not be cut, in runs of similar lengths, against runs by themselves."""

import random
import threading

import pytest

from kit.running_sums import Caller, Sums, any_request, assert_as_whole
from rnnserve.server.batching.cost import Cost
from rnnserve.server.batching.schedulers import Schedulers
from rnnserve.server.batching.waiting_limits import WaitingLimits
from rnnserve.server.errors import Cancelled


@pytest.mark.parametrize("has_lengths", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_grouped_each_answer_has_the_bits_of_a_whole_run(monkeypatch, seed, has_lengths):
    """Of a model whose sequences may not be cut: requests of similar lengths share runs."""
    draw = random.Random(seed)
    model = Sums(has_lengths=has_lengths, cost=Cost(run=1e-6, step=1e-6, point=1e-5, padding=1e-5))
    callers = [Caller(any_request(model, draw)) for _ in range(150)]
    for caller in callers[::11]:
        caller.cancel()
    all_wait, run = threading.Event(), model.run
    monkeypatch.setattr(model, "run", lambda requests: all_wait.wait(20) and run(requests))
    schedulers = Schedulers(WaitingLimits(requests=1000, seconds=1e9))
    for caller in callers:
        schedulers.submit(model, caller)
    all_wait.set()
    assert schedulers.close(20.0) == []
    assert max(rows for rows, _ in model.runs) > 10
    for number, caller in enumerate(callers):
        if number % 11 == 0:
            assert isinstance(caller.outcome, Cancelled)
        else:
            assert_as_whole(model, caller)
