"""Supervisors and generations of workers, whose workers are small programs of bare Python."""

import contextlib
import os
import signal
import threading

import pytest

from kit import waiting
from kit.narrowed import BARE_PYTHON
from kit.waiting import PATIENCE
from rnnserve.server.errors import StartError
from rnnserve.server.workers.generation import Generation
from rnnserve.server.workers.supervisor import Supervisor

__all__ = ["LEAVES", "LOADED", "READY", "UNTIL_TOLD", "WORKER", "code", "generation", "running", "until_seen"]

START = """
import os, signal, sys, time
fds = dict(zip(sys.argv[1::2], map(int, sys.argv[2::2])))
pins = os.fdopen(fds["--pins-fd"]).read() if "--pins-fd" in fds else "{}"
def say(line): os.write(fds["--report-fd"], line.encode() + b"\\n")
"""
LOADED = 'say(f"loaded {pins}"); os.read(fds["--lifeline-fd"], 100); say("ready")\n'
READY = LOADED
UNTIL_TOLD = 'os.read(fds["--lifeline-fd"], 1)\n'
WORKER = LOADED + UNTIL_TOLD
LEAVES = "signal.signal(signal.SIGHUP, lambda *_: sys.exit(0))\n"


def code(text):
    """The command of a worker that runs this code."""
    return lambda more: [*BARE_PYTHON, START + text, *more]


def until_seen(generation, condition):
    """Look at a generation until a condition holds."""
    waiting.until(condition, meanwhile=generation.look)


@pytest.fixture
def generation():
    """Makes generations, and ends them."""
    made = []

    def make(*texts):
        made.append(Generation(code(texts[0]), len(texts)))
        for worker, text in zip(made[-1].workers, texts, strict=True):
            worker._command = code(text)
        return made[-1]

    yield make
    for one in made:
        for worker in one.workers:
            worker.kill()


class Signals:
    """A pipe of signals that a test fills."""

    def __init__(self):
        self.fd, self._write_fd = os.pipe()

    def send(self, *numbers):
        os.write(self._write_fd, bytes(numbers))

    def read(self):
        return [signal.Signals(number) for number in os.read(self.fd, 64)]


class Running:
    """A supervisor on a thread of its own."""

    def __init__(self, text, count=1, *, grace=5.0, leave=5.0, **more):
        self.signals, self.ready, self.ended = Signals(), threading.Event(), threading.Event()
        self.code, self.status = text, None
        self.supervisor = Supervisor(self._command, count, self.signals, grace=grace, leave=leave, **more)  # type: ignore[arg-type]
        threading.Thread(target=self._run, daemon=True).start()

    def _command(self, more):
        return code(self.code)(more)

    def _run(self):
        with contextlib.suppress(StartError):
            self.status = self.supervisor.run(self.ready.set)
        self.ended.set()

    def processes(self):
        return [worker._process.popen for worker in self.supervisor._all() if worker._process is not None]

    def end(self, *numbers):
        self.signals.send(*numbers)
        assert self.ended.wait(PATIENCE)
        assert not self.processes()


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
