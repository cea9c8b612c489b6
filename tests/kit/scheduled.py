"""A model that stands still until it is told to go on, and callers of it: for tests of schedulers."""

import math
import threading

import numpy as np

from kit.checked_requests import checked_request, signature
from kit.waiting import PATIENCE
from rnnserve.server.batching.cost import Cost
from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.clock import now

__all__ = ["SLOW", "Caller", "Model"]

SLOW = Cost(run=1.0, step=0.0, point=0.0, padding=0.0)


class Model:
    """Counts batches, and stands still until it is told to go on."""

    name = "slow"
    in_steps = None
    signature = signature()

    def __init__(self, cost=SLOW):
        self.cost = cost
        self.statistics = Statistics()
        self.batches: list[list[int]] = []
        self.started, self.may_go = threading.Event(), threading.Event()

    def run(self, requests):
        self.batches.append([request.steps for request in requests])
        self.started.set()
        assert self.may_go.wait(PATIENCE)
        if any(request.steps == 13 for request in requests):
            raise ZeroDivisionError("secret")
        return [{"logits": np.array([request.steps])} for request in requests]


class Caller(PendingRequest):
    """A request of one row and `number` steps."""

    connection = "one"

    def __init__(self, number: int, deadline: float = math.inf, connection: str = "one"):
        super().__init__(rows=1, steps=number, deadline=deadline, arrived=now())
        self._answered = threading.Event()
        self.connection = connection

    def origin(self):
        raise NotImplementedError

    def check(self):
        return checked_request(1, self.steps)

    def answer(self, outputs):
        assert not self._answered.is_set(), "answered twice"
        self.got, self.answered_on = outputs, threading.current_thread()
        self._answered.set()

    refuse = answer

    def is_answered(self):
        return self._answered.is_set()

    def wait(self):
        assert self._answered.wait(PATIENCE)
        return self.got
