"""One worker process: how it is started, watched, ended, and started again after a wait."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from rnnserve.server.transport.worker import Backoff, Worker

PATIENCE = 20.0

# A worker that says that it is ready, and ends when its lifeline does.
WORKER = """
import os, sys
fds = dict(zip(sys.argv[1::2], map(int, sys.argv[2::2])))
os.write(fds["--ready-fd"], b"1")
os.read(fds["--lifeline-fd"], 1)
sys.exit(7)
"""


def command(code):
    return lambda more: [sys.executable, "-c", code, *more]


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_backoff_doubles_and_starts_anew_after_a_long_life():
    backoff = Backoff(first=1.0, longest=5.0, grown_up=10.0)
    assert [backoff.seconds_after(lived) for lived in (0, 0, 0, 0, 0, 11, 0)] == [1, 2, 4, 5, 5, 1, 2]


def test_a_worker_waits_at_most_five_seconds_and_has_grown_up_after_ten():
    backoff = Backoff()
    waits = [backoff.seconds_after(lived) for lived in (0, 9.99, 9.99, 9.99, 9.99, 9.99, 9.99, 9.99, 9.99, 10.0)]
    assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 0.05]


def test_a_life_of_just_the_age_starts_anew():
    backoff = Backoff(first=1.0, longest=5.0, grown_up=10.0)
    assert [backoff.seconds_after(lived) for lived in (0, 9.9, 10.0, 9.9)] == [1, 2, 1, 2]


def test_a_worker_becomes_ready_and_ends_with_its_lifeline():
    worker = Worker(3, command(WORKER))
    assert worker.number == 3
    assert worker.is_due
    assert not worker.is_ready
    worker.start()
    try:
        assert not worker.is_due
        until(lambda: worker.look() is not None or worker.is_ready)
        assert worker.is_ready
        assert not worker.wait(0.0)
        os.close(worker._process.lifeline_fd)
        worker._process.lifeline_fd = os.open(os.devnull, os.O_RDONLY)  # `clean_up` closes it
        assert worker.wait(PATIENCE)
        assert worker.look() == 7
    finally:
        worker.signal(signal.SIGKILL)
        worker.wait(PATIENCE)
        worker.clean_up()


def test_a_dead_worker_is_due_after_a_wait_that_grows():
    worker = Worker(0, command("import sys; sys.exit(1)"))
    waits = []
    for _ in range(3):
        worker.start()
        assert worker.wait(PATIENCE)
        assert worker.look() == 1
        assert not worker.is_ready
        waits.append(worker.clean_up())
        assert worker.look() is None
        assert not worker.is_due
        until(lambda: worker.is_due)
    assert waits == [0.05, 0.1, 0.2]


def test_an_unstarted_worker_has_nothing_to_signal_or_wait_for():
    worker = Worker(0, command(""))
    worker.signal(signal.SIGTERM)
    assert worker.wait(0.0)
    assert worker.clean_up() == 0.0


def test_a_signal_ends_it():
    worker = Worker(0, command(WORKER))
    worker.start()
    until(lambda: worker.look() is not None or worker.is_ready)
    worker.signal(signal.SIGTERM)
    assert worker.wait(PATIENCE)
    assert worker.look() == -signal.SIGTERM
    worker.clean_up()


def test_a_command_that_cannot_be_started_leaves_no_descriptor_open():
    before = set(Path("/proc/self/fd").iterdir())
    worker = Worker(0, lambda _: ["/nonexistent"])
    with pytest.raises(FileNotFoundError):
        worker.start()
    assert set(Path("/proc/self/fd").iterdir()) == before
    assert worker.is_due
