"""A supervisor keeps its workers, replaces them at SIGHUP, and ends them, whatever they do."""

import logging
import os
import signal
import time
from types import SimpleNamespace

import pytest

from kit.supervised import BEATS, READY, WORKER, is_there
from kit.waiting import PATIENCE, until
from rnnserve.server.counting.places import WORKER_RESTARTS
from rnnserve.server.counting.table import used_table
from rnnserve.server.signals import SAME_SECONDS
from rnnserve.server.workers import supervisor as supervision

ONE_MODEL = "models.update(scale=[[1], [], False], other=[[3], [], False])\n"
DAMAGED = "models.update(scale=[[], [1], False], other=[[3], [], False])\n"
GONE = "models.update(other=[[3], [], False])\n"
NEWER_DAMAGED = "models.update(scale=[[1], [2], False], other=[[3], [], False])\n"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("sys.exit(0)", "exit status 0"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal SIGKILL"),
        ("beat(False); sys.exit(3)", "exit status 3"),
    ],
)
def test_worker_that_ends_before_all_are_ready_stops_the_server(running, code, said):
    failed = running(code, 2)
    failed.end()
    assert failed.status is None
    assert str(failed.error).endswith(f" ended before it was ready, with {said}")
    assert not failed.ready.is_set()


def test_worker_that_sends_no_heartbeat_is_killed_and_replaced(running, monkeypatch, caplog):
    monkeypatch.setattr(supervision, "_SILENT_SECONDS", 0.5)
    hung = used_table().process[WORKER_RESTARTS["hung"]]
    silent = running(READY + "time.sleep(60)")
    assert silent.ready.wait(PATIENCE)
    (pid,) = silent.pids()
    silent.code = READY + BEATS
    until(lambda: used_table().process[WORKER_RESTARTS["hung"]] == hung + 1)
    assert not is_there(pid)
    until(lambda: caplog.messages)  # the message follows the count
    assert "worker 0 has made no progress for" in caplog.messages[0]


def test_worker_listens_only_when_it_serves_as_much_as_the_others(running, tmp_path, caplog):
    mended = tmp_path / "mended"
    two = running(ONE_MODEL + WORKER, 2)
    assert two.ready.wait(PATIENCE)
    waits = f"while not os.path.exists({str(mended)!r}): beat(False); time.sleep(0.05)\n"
    two.code = DAMAGED + waits + ONE_MODEL + WORKER
    os.kill(two.pids()[0], signal.SIGKILL)
    until(
        lambda: any("cannot serve the same models as the others (scale: version 1)" in said for said in caplog.messages)
    )
    time.sleep(0.2)
    assert not two.supervisor._places[0].worker.may_listen
    mended.touch()
    until(lambda: two.supervisor._places[0].worker.is_listening)


@pytest.mark.parametrize("is_deaf", [True, False])
def test_workers_end_within_the_grace_or_are_killed(running, monkeypatch, caplog, is_deaf):
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if is_deaf else ""
    if is_deaf:
        monkeypatch.setattr(supervision, "_END_SECONDS", 0.2)
    two = running(deaf + READY + "time.sleep(60)\n", 2, grace=0.1)
    assert two.ready.wait(PATIENCE)
    two.end(signal.SIGTERM)
    assert two.status == 0
    assert caplog.messages == [f"worker {number} did not end in time; killed it" for number in (0, 1) if is_deaf]


def test_second_signal_ends_workers_at_once(running, monkeypatch, caplog):
    ahead = [0.0]
    monkeypatch.setattr(supervision, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + ahead[0]))
    deaf = running("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY + BEATS, 2, grace=3600)
    assert deaf.ready.wait(PATIENCE)
    deaf.signals.send(signal.SIGTERM)
    until(lambda: deaf.supervisor._asked_at)
    ahead[0] = SAME_SECONDS + 0.01
    deaf.end(signal.SIGINT)
    assert deaf.status == 128 + signal.SIGINT
    assert not caplog.messages


def test_gateway_ends_before_the_workers(running):
    lived, pids = [], []

    def end_gateway():
        lived.extend(map(is_there, pids))
        return len(lived) > 10

    two = running("signal.signal(signal.SIGTERM, lambda *_: sys.exit())\n" + WORKER, 2, end_gateway=end_gateway)
    assert two.ready.wait(PATIENCE)
    pids += two.pids()
    two.end(signal.SIGTERM)
    assert len(lived) > 10
    assert all(lived)


def test_workers_drain_before_they_end(running, tmp_path):
    mark = tmp_path / "mark"
    drains = f"assert b'drain' in os.read(lifeline, 100); open({str(mark)!r}, 'x').close(); time.sleep(60)"
    one = running(READY + drains, drain=0.5)
    assert one.ready.wait(PATIENCE)
    started = time.monotonic()
    one.end(signal.SIGTERM)
    assert mark.exists()
    assert time.monotonic() - started > 0.5


def test_sighup_replaces_workers_one_after_another(running, caplog):
    with caplog.at_level(logging.INFO):
        two = running(WORKER, 2)
        assert two.ready.wait(PATIENCE)
        old = two.pids()
        two.signals.send(signal.SIGHUP)
        most = 0
        while "SIGHUP: every worker has been replaced" not in caplog.messages:
            most = max(most, len(two.pids()))
            time.sleep(0.001)
        assert not any(map(is_there, old))
        assert len(two.pids()) == 2
        assert most <= 3


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("sys.exit(1)", "worker 0 ended before it was ready, with exit status 1"),
        (DAMAGED + WORKER, "worker 0 could not serve the current models (scale: version 1)"),
    ],
)
def test_old_worker_stays_when_its_replacement_serves_less(running, caplog, code, said):
    two = running(ONE_MODEL + WORKER, 2)
    assert two.ready.wait(PATIENCE)
    old = two.pids()
    two.code = code
    two.signals.send(signal.SIGHUP)
    until(lambda: caplog.messages)
    assert caplog.messages == [f"SIGHUP: {said}; the current workers keep serving"]
    until(lambda: two.pids() == old)


@pytest.mark.parametrize("code", [GONE, NEWER_DAMAGED])
def test_old_worker_ends_when_its_replacement_serves_everything_left(running, caplog, code):
    """A model without a folder was removed. A damaged newer version never served."""
    one = running(ONE_MODEL + WORKER)
    assert one.ready.wait(PATIENCE)
    (old,) = one.pids()
    one.code = code + WORKER
    one.signals.send(signal.SIGHUP)
    until(lambda: not is_there(old))
    assert len(one.pids()) == 1
