"""A supervisor waits for its workers, replaces those that die, and ends them, whatever they do."""

import logging
import os
import signal
import sys
import threading

import pytest

from rnnserve.server.errors import StartError
from rnnserve.server.transport import supervisor as supervision
from rnnserve.server.transport.supervisor import Supervisor, worker_count

PATIENCE = 20.0

START = """
import os, signal, sys, time
fds = dict(zip(sys.argv[1::2], map(int, sys.argv[2::2])))
"""
READY = 'os.write(fds["--ready-fd"], b"1")\n'
UNTIL_TOLD = 'os.read(fds["--lifeline-fd"], 1)\n'


def supervisor(code: str, count: int = 1) -> Supervisor:
    return Supervisor(lambda more: [sys.executable, "-c", START + code, *more], count)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("sys.exit(0)", "exit status 0"),
        ("sys.exit(1)", "exit status 1"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGUSR1)", "signal SIGUSR1"),
    ],
)
def test_a_worker_that_never_becomes_ready_is_the_end(code, said):
    ready = []
    with pytest.raises(StartError) as ended:
        supervisor(code).run(lambda: ready.append(1), grace=0.0)
    assert str(ended.value) == f"worker 0 ended before it was ready, with {said}"
    assert not ready


def test_it_is_ready_once_all_workers_are(tmp_path, monkeypatch):
    """The second worker becomes ready after the first one has been seen to be so."""
    seen = tmp_path / "seen"
    wait = f"while not os.path.exists({str(seen)!r}): time.sleep(0.01)\n"
    workers = supervisor("", 2)
    first, second = workers._workers
    first._command = lambda more: [sys.executable, "-c", START + READY + UNTIL_TOLD, *more]
    second._command = lambda more: [sys.executable, "-c", START + wait + READY + UNTIL_TOLD, *more]
    look, ready = first.look, []

    def look_and_tell():
        status = look()
        if first.is_ready:
            seen.touch()
        return status

    monkeypatch.setattr(first, "look", look_and_tell)

    def on_ready():
        ready.append((first.is_ready, second.is_ready))
        workers.stop()

    workers.run(on_ready, grace=5.0)
    assert ready == [(True, True)]


def test_a_stop_before_that_ends_them_and_nothing_is_ready():
    workers, ready = supervisor(UNTIL_TOLD, 2), []
    workers.stop()
    workers.run(lambda: ready.append(1), grace=5.0)
    assert not ready
    assert all(worker.look() is None and worker.wait(0.0) for worker in workers._workers)


def test_a_worker_that_dies_is_replaced_and_the_log_tells(tmp_path, monkeypatch, caplog):
    """The first process of the worker ends after it has become ready; the second one stays."""
    mark = tmp_path / "mark"
    code = (
        READY + f"import pathlib\nmark = pathlib.Path({str(mark)!r})\nif not mark.exists(): mark.touch(); sys.exit(3)\n"
    )
    workers = supervisor(code + UNTIL_TOLD)
    starts = []
    (worker,) = workers._workers
    start, look = worker.start, worker.look

    def start_and_count():
        starts.append(1)
        start()

    def look_and_stop():
        status = look()
        if len(starts) == 2 and worker.is_ready:
            workers.stop()
        return status

    monkeypatch.setattr(worker, "start", start_and_count)
    monkeypatch.setattr(worker, "look", look_and_stop)
    with caplog.at_level(logging.INFO):
        workers.run(lambda: None, grace=5.0)
    assert len(starts) == 2
    assert caplog.messages == [
        "worker 0 died with exit status 3; another starts in 0.05 s",
        "worker 0 is ready again",
    ]


@pytest.mark.parametrize("is_deaf", [True, False])
def test_workers_end_within_the_grace_or_are_killed(monkeypatch, caplog, is_deaf):
    monkeypatch.setattr(supervision, "_END_SECONDS", 0.2)
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if is_deaf else ""
    workers = supervisor(deaf + READY + "time.sleep(60)\n", 2)
    processes = []

    def ready():
        processes.extend(worker._process.popen for worker in workers._workers)
        workers.stop()

    running = threading.Thread(target=workers.run, args=(ready,), kwargs={"grace": 0.1}, daemon=True)
    running.start()
    running.join(PATIENCE)
    assert not running.is_alive()
    ended_by = signal.SIGKILL if is_deaf else signal.SIGTERM
    assert [process.returncode for process in processes] == [-ended_by] * 2
    assert caplog.messages == [f"worker {number} did not end in time" for number in (0, 1) if is_deaf]


def test_auto_is_one_worker_a_core(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 4, 6}, raising=False)
    assert worker_count("auto") == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert worker_count("auto") == 5
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert worker_count("auto") == 1
