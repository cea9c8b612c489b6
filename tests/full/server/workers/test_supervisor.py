"""A supervisor keeps its workers, replaces them at SIGHUP, and ends them, whatever they do."""

import errno
import os
import signal

from kit.supervised import WORKER, is_there
from kit.waiting import PATIENCE, until
from rnnserve.server.workers import supervisor as supervision
from rnnserve.server.workers.supervisor import Worker


def test_worker_that_cannot_start_is_started_later(running, monkeypatch, caplog):
    """No descriptors, processes or memory: the supervisor is not to end of it."""
    one = running(WORKER)
    assert one.ready.wait(PATIENCE)
    failed = []

    def fail(*args):
        failed.append(args)
        if len(failed) <= 2:
            raise OSError(errno.EMFILE, "Too many open files")
        return Worker(*args)

    monkeypatch.setattr(supervision, "Worker", fail)
    os.kill(one.pids()[0], signal.SIGKILL)
    until(lambda: len(failed) == 3)
    said = [message for message in caplog.messages if "cannot be started" in message]
    assert said[0].startswith("worker 0 cannot be started: Too many open files; ")


def test_second_sighup_restarts_the_roll_with_the_current_repository(running):
    one = running(WORKER)
    assert one.ready.wait(PATIENCE)
    (old,) = one.pids()
    one.code = "time.sleep(60)"  # it loads for ever
    one.signals.send(signal.SIGHUP)
    until(lambda: len(one.pids()) == 2)
    (loads,) = set(one.pids()) - {old}
    one.code = WORKER
    one.signals.send(signal.SIGHUP)
    until(lambda: not is_there(old))
    assert not is_there(loads)
    until(lambda: len(one.pids()) == 1)


def test_shutdown_during_a_roll_leaves_no_process(running):
    two = running(WORKER, 2)
    assert two.ready.wait(PATIENCE)
    two.code = "time.sleep(60)"
    two.signals.send(signal.SIGHUP)
    until(lambda: len(two.pids()) == 3)
    pids = two.pids()
    two.end(signal.SIGTERM)
    assert two.status == 0
    assert not any(map(is_there, pids))
