"""A supervisor keeps its workers, replaces them at SIGHUP, and ends them, whatever they do."""

import errno
import os
import signal
import time

from kit.supervised import WORKER, is_there
from kit.waiting import PATIENCE, until
from rnnserve.server.workers import supervisor as supervision
from rnnserve.server.workers.supervisor import Worker


def test_none_listens_before_all_have_loaded(running, tmp_path):
    mark = tmp_path / "mark"
    first = tmp_path / "first"
    wait = f"""
try:
    open({str(first)!r}, "x").close()
except FileExistsError:
    while not os.path.exists({str(mark)!r}): time.sleep(0.01)
"""
    two = running(wait + WORKER, 2)
    until(lambda: any(worker.loaded_at for worker in two.supervisor._workers()))
    time.sleep(0.2)
    assert not any(worker.may_listen for worker in two.supervisor._workers())
    mark.touch()
    assert two.ready.wait(PATIENCE)


def test_worker_that_cannot_be_started_now_is_started_later(running, monkeypatch, caplog):
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


def test_signal_before_they_are_ready_ends_them(running):
    loading = running("time.sleep(60)", 2)
    until(lambda: len(loading.pids()) == 2)
    loading.end(signal.SIGTERM)
    assert loading.status == 0
    assert not loading.ready.is_set()


def test_another_hang_up_begins_anew_with_what_the_repository_holds_by_then(running):
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


def test_worker_that_does_not_leave_is_killed(running, monkeypatch, caplog):
    monkeypatch.setattr(supervision, "_END_SECONDS", 0.2)
    stays = running("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WORKER, grace=0.1)
    assert stays.ready.wait(PATIENCE)
    (old,) = stays.pids()
    stays.signals.send(signal.SIGHUP)
    until(lambda: not is_there(old))
    assert caplog.messages == ["worker 0 did not leave in time; killed it"]


def test_end_in_the_middle_of_a_roll_leaves_no_process(running):
    two = running(WORKER, 2)
    assert two.ready.wait(PATIENCE)
    two.code = "time.sleep(60)"
    two.signals.send(signal.SIGHUP)
    until(lambda: len(two.pids()) == 3)
    pids = two.pids()
    two.end(signal.SIGTERM)
    assert two.status == 0
    assert not any(map(is_there, pids))
