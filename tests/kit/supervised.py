"""Supervisors whose workers are small programs of bare Python."""

import contextlib
import os
import signal
import threading
from typing import Any

import pytest

from kit.narrowed import BARE_PYTHON
from kit.waiting import PATIENCE
from rnnserve.server.errors import StartError
from rnnserve.server.workers.supervisor import Supervisor

START = """
import json, os, signal, sys, time
words = sys.argv[1:]
report = int(words[words.index("--report-fd") + 1])
lifeline = sys.stdin.fileno()
models = {}
def beat(listens=True, stuck=""):
    said = {"models": models, "is_listening": listens, "stuck": stuck}
    os.write(report, json.dumps(said).encode() + b"\\n")
"""
READY = "beat(False); os.read(lifeline, 100); beat()\n"
UNTIL_TOLD = "while os.read(lifeline, 100): pass\n"
BEATS = "while True: time.sleep(0.1); beat()\n"
WORKER = READY + UNTIL_TOLD


class Signals:
    """A pipe of signals that a test fills."""

    def __init__(self):
        self.fd, self._write_fd = os.pipe()

    def send(self, *numbers):
        os.write(self._write_fd, bytes(numbers))

    def read(self):
        return [signal.Signals(number) for number in os.read(self.fd, 64)]


class Running:
    """A supervisor on a thread of its own.

    Attributes:
        code: What workers run that are started from now on.
        status: Exit status, once it has ended without an error.
    """

    def __init__(self, code, count=1, *, drain=0.0, grace=5.0, **more):
        self.signals: Any = Signals()
        self.ready, self.ended = threading.Event(), threading.Event()
        self.code, self.status, self.error = code, None, None
        self.supervisor = Supervisor(self._command, count, self.signals, drain=drain, grace=grace, **more)  # type: ignore[arg-type]
        threading.Thread(target=self._run, daemon=True).start()

    def _command(self, more):
        return [*BARE_PYTHON, START + self.code, *more]

    def _run(self):
        try:
            self.status = self.supervisor.run(self.ready.set)
        except StartError as error:
            self.error = error
        self.ended.set()

    def pids(self):
        return [worker.pid for worker in self.supervisor._workers()]

    def end(self, *numbers):
        self.signals.send(*numbers)
        assert self.ended.wait(PATIENCE)
        assert not any(map(is_there, self.pids()))


def is_there(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@pytest.fixture
def running():
    """Makes supervisors that run, and ends them."""
    made = []

    def run(*args, **kwargs):
        made.append(Running(*args, **kwargs))
        return made[-1]

    yield run
    for one in made:
        one.end(signal.SIGTERM, signal.SIGTERM)
