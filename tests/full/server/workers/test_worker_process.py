"""One worker process: how it is started, watched, ended, and started again after a wait."""

import signal
from pathlib import Path

import pytest

from kit.bare_python import BARE_PYTHON
from kit.waiting import until
from rnnserve.server.workers.worker_process import Worker

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


def test_a_stopped_process_is_seen_and_a_continued_one(worker):
    worker.start()
    assert not worker.is_stopped()
    worker.signal(signal.SIGSTOP)
    until(worker.is_stopped)
    worker.signal(signal.SIGCONT)
    until(lambda: not worker.is_stopped())


def test_a_command_that_cannot_be_started_leaves_no_descriptor_open():
    """Of many times: meanwhile, threads of other tests open and close a few of their own."""
    times = 50
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(times):
        worker = Worker(0, lambda _: ["/nonexistent"])
        with pytest.raises(FileNotFoundError):
            worker.start({})
    assert len(list(Path("/proc/self/fd").iterdir())) < before + times
    assert worker.is_due
