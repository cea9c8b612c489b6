"""A supervisor keeps its workers, restarts them at SIGHUP, and ends them, whatever they do."""

import signal

from kit.supervised import LEAVES, READY, UNTIL_TOLD
from kit.waiting import PATIENCE, until
from rnnserve.server.workers import supervisor as supervision


def test_a_signal_before_they_are_ready_ends_them(running):
    loading = running("time.sleep(60)", 2)
    until(lambda: len(loading.processes()) == 2)
    loading.end(signal.SIGTERM)
    assert loading.status == 0
    assert not loading.ready.is_set()


def test_signals_for_all_are_passed_on(running, caplog):
    shows = "signal.signal(signal.SIGUSR1, lambda *_: say('adopted'))\n"
    two = running(shows + READY + "while True: time.sleep(1)\n", 2)
    assert two.ready.wait(PATIENCE)
    processes = two.processes()
    shown = []
    for worker in two.supervisor._all():
        worker.take_said = lambda said=worker.take_said: (shown.extend(lines := said()), lines)[1]
    two.signals.send(signal.SIGUSR2)
    until(lambda: caplog.messages)
    two.signals.send(signal.SIGUSR1)
    until(lambda: len(shown) == 2)
    assert [process.poll() for process in processes] == [None, None]
    two.end(signal.SIGQUIT)
    assert two.status == 128 + signal.SIGQUIT
    assert [process.returncode for process in processes] == [-signal.SIGQUIT] * 2


def test_a_hang_up_of_a_terminal_that_has_gone_is_the_end(running, caplog):
    two = running(LEAVES + READY + UNTIL_TOLD, 2, terminal_has_gone=lambda: True)
    assert two.ready.wait(PATIENCE)
    two.end(signal.SIGHUP, signal.SIGHUP)
    assert two.status == 0
    assert caplog.messages == ["SIGHUP: the terminal has gone, and the workers end; with nohup they would stay"]


def test_another_restart_begins_anew_with_what_the_repository_holds_by_then(running):
    one = running(LEAVES + READY + UNTIL_TOLD)
    assert one.ready.wait(PATIENCE)
    (old,) = one.processes()
    ready, one.code = one.code, "time.sleep(60)"  # it loads for ever
    one.signals.send(signal.SIGHUP)
    until(lambda: len(one.processes()) == 2)
    (loads,) = set(one.processes()) - {old}
    one.code = ready
    one.signals.send(signal.SIGHUP)
    until(lambda: old.returncode == 0)
    assert loads.returncode == -signal.SIGKILL
    until(lambda: len(one.processes()) == 1)


def test_one_that_does_not_leave_is_killed_and_one_that_dies_is_told_of(running, monkeypatch, caplog):
    monkeypatch.setattr(supervision, "_END_SECONDS", 0.2)
    stays = running("signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + READY + UNTIL_TOLD, grace=0.1, leave=0.1)
    assert stays.ready.wait(PATIENCE)
    (old,) = stays.processes()
    stays.signals.send(signal.SIGHUP)
    until(lambda: old.returncode == -signal.SIGKILL)
    until(lambda: not stays.supervisor._leaving)
    dies = running(READY + UNTIL_TOLD)
    assert dies.ready.wait(PATIENCE)
    dies.signals.send(signal.SIGHUP)
    until(lambda: len(caplog.messages) == 2)
    assert caplog.messages == [
        "worker 0 did not leave in time: it is killed",
        "worker 0, which was leaving, died with signal SIGHUP",
    ]


def test_an_end_in_the_middle_of_a_restart_leaves_no_process(running):
    two = running(LEAVES + READY + UNTIL_TOLD, 2)
    assert two.ready.wait(PATIENCE)
    two.code = "time.sleep(60)"
    two.signals.send(signal.SIGHUP)
    until(lambda: len(two.processes()) == 4)
    processes = two.processes()
    two.end(signal.SIGTERM)
    assert two.status == 0
    assert all(process.returncode is not None for process in processes)
