"""A supervisor keeps its workers, restarts them at SIGHUP, and ends them, whatever they do."""

import contextlib
import logging
import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest

from kit.bare_python import BARE_PYTHON
from kit.waiting import PATIENCE, until
from rnnserve.server.errors import StartError
from rnnserve.server.workers import supervisor as supervision
from rnnserve.server.workers.signals import SAME_SECONDS
from rnnserve.server.workers.supervisor import Supervisor, worker_count

START = """
import os, signal, sys, time
fds = dict(zip(sys.argv[1::2], map(int, sys.argv[2::2])))
def say(line): os.write(fds["--report-fd"], line.encode() + b"\\n")
"""
READY = 'say("loaded {}"); os.read(fds["--lifeline-fd"], 100); say("ready")\n'
UNTIL_TOLD = 'os.read(fds["--lifeline-fd"], 1)\n'
LEAVES = "signal.signal(signal.SIGHUP, lambda *_: sys.exit(0))\n"


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

    def __init__(self, code, count=1, *, grace=5.0, leave=5.0, **more):
        self.signals, self.ready, self.ended = Signals(), threading.Event(), threading.Event()
        self.code, self.status = code, None
        self.supervisor = Supervisor(self._command, count, self.signals, grace=grace, leave=leave, **more)  # type: ignore[arg-type]
        threading.Thread(target=self._run, daemon=True).start()

    def _command(self, more):
        return [*BARE_PYTHON, START + self.code, *more]

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


def set_ahead(monkeypatch):
    """Seconds, to be changed, by which the clock of supervisors is ahead."""
    ahead = [0.0]
    monkeypatch.setattr(supervision, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + ahead[0]))
    return ahead


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


def test_workers_that_cannot_start_are_the_end_and_none_is_left(running):
    failed = running("sys.exit(1)", 2)
    failed.end()
    assert failed.status is None
    assert not failed.ready.is_set()


def test_a_signal_before_they_are_ready_ends_them(running):
    loading = running("time.sleep(60)", 2)
    until(lambda: len(loading.processes()) == 2)
    loading.end(signal.SIGTERM)
    assert loading.status == 0
    assert not loading.ready.is_set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("is_deaf", [True, False])
def test_workers_end_within_the_grace_or_are_killed(running, monkeypatch, caplog, number, is_deaf):
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if is_deaf else ""
    if is_deaf:
        monkeypatch.setattr(supervision, "_END_SECONDS", 0.2)
    two = running(deaf + READY + "time.sleep(60)\n", 2, grace=0.1)
    assert two.ready.wait(PATIENCE)
    processes = two.processes()
    two.end(number)
    assert two.status == 0
    ended_by = signal.SIGKILL if is_deaf else signal.SIGTERM
    assert [process.returncode for process in processes] == [-ended_by] * 2
    killed = [f"worker {number} did not end in time: it is killed" for number in (0, 1)]
    assert caplog.messages == (killed if is_deaf else [])


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_them_at_once(running, monkeypatch, caplog, second):
    ahead = set_ahead(monkeypatch)
    deaf = running("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY + "time.sleep(60)\n", 2, grace=3600)
    assert deaf.ready.wait(PATIENCE)
    processes = deaf.processes()
    deaf.signals.send(signal.SIGTERM)
    until(lambda: deaf.supervisor._asked_at)
    ahead[0] = SAME_SECONDS + 0.01
    deaf.end(second)
    assert deaf.status == 128 + second
    assert [process.returncode for process in processes] == [-signal.SIGKILL] * 2
    assert not caplog.messages


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_one_request_that_arrives_twice_counts_once(running, second):
    """The workers end with grace, as after one."""
    slow = "def end(*_):\n    time.sleep(0.3); sys.exit(0)\nsignal.signal(signal.SIGTERM, end)\n"
    two = running(slow + READY + "time.sleep(60)\n", 2, grace=PATIENCE)
    assert two.ready.wait(PATIENCE)
    processes = two.processes()
    two.end(signal.SIGTERM, second, second)
    assert two.status == 0
    assert [process.returncode for process in processes] == [0, 0]


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


def test_a_worker_that_is_leaving_is_answered(running, tmp_path):
    """It has no others any more: it may change nothing, and what it has counted is all."""
    told = tmp_path / "told"
    asks = f"""
def leave(*_):
    say("want")
    say("sum 3")
    with open(fds["--lifeline-fd"], "rb") as lines, open({str(told)!r}, "wb") as file:
        file.write(lines.readline() + lines.readline())
    sys.exit(0)
signal.signal(signal.SIGHUP, leave)
"""
    one = running(asks + READY + UNTIL_TOLD)
    assert one.ready.wait(PATIENCE)
    one.signals.send(signal.SIGHUP)
    until(lambda: told.exists() and told.read_text() == "failed the workers are being replaced: ask again\ncounts 3\n")


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


def test_silence_does_not_count_while_the_supervisor_did_not_run(running, monkeypatch, caplog):
    """A machine that slept: the workers were as silent as it was deaf."""
    one = running(READY + UNTIL_TOLD)
    assert one.ready.wait(PATIENCE)
    process = one.processes()[0]
    ahead = set_ahead(monkeypatch)
    looks = []
    look = one.supervisor._current.look
    monkeypatch.setattr(one.supervisor._current, "look", lambda: (look(), looks.append(1)))
    ahead[0] = 1000.0
    until(lambda: len(looks) > 3)
    assert one.processes() == [process]
    assert not caplog.messages


def test_auto_is_one_worker_a_core(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 4, 6}, raising=False)
    assert worker_count("auto") == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert worker_count("auto") == 5
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert worker_count("auto") == 1
