"""Any order of restarts, bad restarts and deaths leaves as many workers as there were, and their end leaves none."""

import contextlib
import os
import signal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kit.logged import logged
from kit.supervised import WORKER, Running, is_there
from kit.waiting import PATIENCE, until

COUNT = 2
GOOD, BAD = WORKER, "sys.exit(1)"


class Supervised(RuleBasedStateMachine):
    """A supervisor of two workers."""

    def __init__(self):
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.log = self.stack.enter_context(logged("rnnserve"))
        self.running = Running(GOOD, COUNT)
        self.stack.callback(self.running.end, signal.SIGTERM, signal.SIGTERM)
        assert self.running.ready.wait(PATIENCE)

    def pids(self):
        """Those of workers that serve; none while one is being replaced."""
        placed = [place.worker for place in self.running.supervisor._places]
        return {worker.pid for worker in placed if worker is not None and worker.is_listening and is_there(worker.pid)}

    def has_settled(self):
        supervisor = self.running.supervisor
        return len(self.pids()) == COUNT and not supervisor._leaving and not supervisor._to_roll

    @rule()
    def restart(self):
        before = self.pids()
        self.running.code = GOOD
        self.running.signals.send(signal.SIGHUP)
        until(lambda: not before & self.pids() and self.has_settled())

    @rule()
    def restart_with_workers_that_cannot_start(self):
        before, said = self.pids(), len(self.log.messages)
        self.running.code = BAD
        self.running.signals.send(signal.SIGHUP)
        until(lambda: any("keep serving" in message for message in self.log.messages[said:]))
        assert self.pids() == before
        self.running.code = GOOD

    @rule(number=st.integers(0, COUNT - 1))
    def lose_a_worker(self, number):
        before = self.pids()
        lost = sorted(before)[number]
        os.kill(lost, signal.SIGKILL)
        until(lambda: lost not in self.pids() and self.has_settled())
        assert len(before & self.pids()) == COUNT - 1

    @invariant()
    def all_run(self):
        until(self.has_settled)

    def teardown(self):
        self.stack.close()  # which asserts that no process is left


Supervised.TestCase.settings = settings(max_examples=8, stateful_step_count=5, deadline=None, derandomize=True)
TestSupervised = Supervised.TestCase
