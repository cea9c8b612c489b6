"""One worker process: how it is started, watched, ended, and started again after a wait."""

import os

import pytest

from kit.narrowed import BARE_PYTHON
from kit.waiting import until
from rnnserve.server.workers.worker_process import Backoff, Worker

# A worker that says that it has loaded, and ready when it may listen; it ends when its lifeline does.
WORKER = """
import os, sys
fds = dict(zip(sys.argv[1::2], map(int, sys.argv[2::2])))
pins = os.fdopen(fds["--pins-fd"]).read() if "--pins-fd" in fds else "{}"
os.write(fds["--report-fd"], f"loaded {pins}\\n".encode())
os.read(fds["--lifeline-fd"], 100)
os.write(fds["--report-fd"], b"ready\\nbe")
os.read(fds["--lifeline-fd"], 1)
sys.exit(7)
"""


def command(code):
    return lambda more: [*BARE_PYTHON, code, *more]


@pytest.fixture
def worker():
    worker = Worker(3, command(WORKER))
    yield worker
    worker.kill()


def test_a_worker_waits_at_most_five_seconds_and_has_grown_up_after_one():
    backoff = Backoff()
    waits = [backoff.seconds_after(lived) for lived in (0, 0.99, 0.99, 0.99, 0.99, 0.99, 0.99, 0.99, 0.99, 1.0)]
    assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 0.05]


def test_it_loads_listens_when_it_may_and_ends_with_its_lifeline(worker):
    assert worker.number == 3
    assert worker.is_due
    assert not worker.has_process
    worker.start()
    assert worker.is_loading
    assert not worker.is_due
    until(lambda: worker.look() or worker.is_loaded)
    assert (worker.pins, worker.is_pinned, worker.is_ready) == ({}, False, False)
    worker.go()
    assert not worker.is_loaded
    until(lambda: worker.look() or worker.is_ready)
    os.close(worker._process.lifeline_fd)
    worker._process.lifeline_fd = os.open(os.devnull, os.O_RDONLY)  # `clean_up` closes it
    until(lambda: worker.look() == 7)
    assert worker.report_fd is None
    assert worker.has_process


def test_a_dead_worker_is_due_after_a_wait_that_grows():
    worker = Worker(0, command("import sys; sys.exit(1)"))
    waits = []
    for _ in range(3):
        worker.start()
        until(lambda: worker.look() == 1)
        assert not worker.is_ready
        waits.append(worker.clean_up())
        assert worker.look() is None
        assert not worker.is_due
        until(lambda: worker.is_due)
    assert waits == [0.05, 0.1, 0.2]
