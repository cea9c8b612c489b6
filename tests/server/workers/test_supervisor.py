"""A supervisor keeps its workers, restarts them at SIGHUP, and ends them, whatever they do."""

import logging
import signal
import time
from types import SimpleNamespace

import pytest

from kit.supervised import LEAVES, READY, UNTIL_TOLD
from kit.waiting import PATIENCE, until
from rnnserve.server.workers import supervisor as supervision
from rnnserve.server.workers.signals import SAME_SECONDS


def set_ahead(monkeypatch):
    """Seconds, to be changed, by which the clock of supervisors is ahead."""
    ahead = [0.0]
    monkeypatch.setattr(supervision, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + ahead[0]))
    return ahead


def test_workers_that_cannot_start_are_the_end_and_none_is_left(running):
    failed = running("sys.exit(1)", 2)
    failed.end()
    assert failed.status is None
    assert not failed.ready.is_set()


@pytest.mark.parametrize("is_deaf", [True, False])
def test_workers_end_within_the_grace_or_are_killed(running, monkeypatch, caplog, is_deaf):
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if is_deaf else ""
    if is_deaf:
        monkeypatch.setattr(supervision, "_END_SECONDS", 0.2)
    two = running(deaf + READY + "time.sleep(60)\n", 2, grace=0.1)
    assert two.ready.wait(PATIENCE)
    processes = two.processes()
    two.end(signal.SIGTERM)
    assert two.status == 0
    ended_by = signal.SIGKILL if is_deaf else signal.SIGTERM
    assert [process.returncode for process in processes] == [-ended_by] * 2
    killed = [f"worker {number} did not end in time: it is killed" for number in (0, 1)]
    assert caplog.messages == (killed if is_deaf else [])


def test_a_second_signal_ends_them_at_once(running, monkeypatch, caplog):
    ahead = set_ahead(monkeypatch)
    deaf = running("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY + "time.sleep(60)\n", 2, grace=3600)
    assert deaf.ready.wait(PATIENCE)
    processes = deaf.processes()
    deaf.signals.send(signal.SIGTERM)
    until(lambda: deaf.supervisor._asked_at)
    ahead[0] = SAME_SECONDS + 0.01
    deaf.end(signal.SIGINT)
    assert deaf.status == 128 + signal.SIGINT
    assert [process.returncode for process in processes] == [-signal.SIGKILL] * 2
    assert not caplog.messages


def test_a_restart_starts_others_and_lets_the_old_ones_leave(running, caplog):
    with caplog.at_level(logging.INFO):
        two = running(LEAVES + READY + UNTIL_TOLD, 2)
        assert two.ready.wait(PATIENCE)
        old = two.processes()
        two.signals.send(signal.SIGHUP)
        until(lambda: all(process.returncode == 0 for process in old))
        until(lambda: not two.supervisor._leaving)
        new = two.processes()
        assert len(new) == 2
        assert not set(old) & set(new)
        assert [process.poll() for process in new] == [None, None]
        two.end(signal.SIGTERM)
    assert caplog.messages == [
        "SIGHUP: new workers load what the repository holds now",
        "SIGHUP: the new workers are ready; the others leave within 10 s",
        "SIGTERM: the workers end",
    ]


def test_a_restart_that_fails_leaves_everything_as_it_was(running, caplog):
    two = running(LEAVES + READY + UNTIL_TOLD, 2)
    assert two.ready.wait(PATIENCE)
    old = two.processes()
    two.code = "time.sleep(0.1); sys.exit(1)"
    two.signals.send(signal.SIGHUP)
    until(lambda: caplog.messages)
    said = caplog.messages[0]
    assert said.startswith("SIGHUP: worker ")
    assert said.endswith(" ended before it was ready, with exit status 1; the workers that there are serve on")
    until(lambda: two.processes() == old)
    assert [process.poll() for process in old] == [None, None]
