"""Workers of one generation load, listen together, serve the same, and are replaced where they die or hang."""

import errno
import logging
import os
import re
import signal
import time

import pytest

from kit import waiting
from kit.bare_python import BARE_PYTHON
from rnnserve.server.errors import StartError
from rnnserve.server.repository.pins import ModelPins, Pin, dump_pins
from rnnserve.server.workers import generation as generations
from rnnserve.server.workers.generation import Generation

START = """
import os, signal, sys, time
fds = dict(zip(sys.argv[1::2], map(int, sys.argv[2::2])))
pins = os.fdopen(fds["--pins-fd"]).read() if "--pins-fd" in fds else "{}"
def say(line): os.write(fds["--report-fd"], line.encode() + b"\\n")
"""
LOADED = 'say(f"loaded {pins}"); os.read(fds["--lifeline-fd"], 100); say("ready")\n'
UNTIL_TOLD = 'os.read(fds["--lifeline-fd"], 1)\n'
WORKER = LOADED + UNTIL_TOLD


def code(text):
    return lambda more: [*BARE_PYTHON, START + text, *more]


def until(generation, condition):
    """Look until a condition holds."""
    waiting.until(condition, meanwhile=generation.look)


@pytest.fixture
def generation():
    """Makes generations, and ends them."""
    made = []

    def make(*texts):
        made.append(Generation(code(texts[0]), len(texts)))
        for worker, text in zip(made[-1].workers, texts, strict=True):
            worker._command = code(text)
        return made[-1]

    yield make
    for one in made:
        for worker in one.workers:
            worker.kill()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sys.exit(0)", "exit status 0"),
        ("sys.exit(1)", "exit status 1"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal SIGKILL"),
        (LOADED + "sys.exit(3)", "exit status 3"),
    ],
)
def test_a_worker_that_dies_before_all_are_ready_is_the_end(generation, text, said):
    two = generation(text, LOADED.replace('say("ready")', "time.sleep(60)"))
    with pytest.raises(StartError, match=f"^worker 0 ended before it was ready, with {said}$"):
        until(two, lambda: two.is_ready)


def test_none_listens_before_all_have_loaded(generation, tmp_path):
    mark = tmp_path / "mark"
    wait = f"while not os.path.exists({str(mark)!r}): time.sleep(0.01)\n"
    first, second = (two := generation(WORKER, wait + WORKER)).workers
    until(two, lambda: first.is_loaded)
    for _ in range(5):
        two.look()
    assert first.is_loaded
    assert second.is_loading
    mark.touch()
    until(two, lambda: two.is_ready)
    assert first.is_ready
    assert second.is_ready


def test_as_many_load_at_once_as_there_are_cores(generation, monkeypatch):
    monkeypatch.setattr(generations, "_starts_at_once", lambda: 2)
    many = generation(*["time.sleep(60)"] * 5)
    for _ in range(3):
        many.look()
    assert [worker.is_loading for worker in many.workers] == [True, True, False, False, False]
    two = generation(*[WORKER] * 5)
    until(two, lambda: two.is_ready)
    assert generations._starts_at_once() == 2


def test_at_least_two_load_at_once(monkeypatch):
    for cores, count in ((1, 2), (7, 7)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        assert generations._starts_at_once() == count


def test_one_that_loaded_something_else_loads_what_the_first_one_has(generation, caplog):
    other = f'if "--pins-fd" not in fds: time.sleep(0.3); pins = {dump_pins(pins(a=1))!r}\n'
    two = generation(WORKER, other + WORKER)
    until(two, lambda: two.is_ready)
    assert [worker.pins for worker in two.workers] == [{}, {}]
    assert two.workers[1].is_pinned
    assert caplog.messages == ["worker 1 has loaded other versions than the first one: it loads again"]


def pins(**versions):
    """Pins: of each model, the version that serves, whose digest is its number; 0 for none."""
    return {
        name: ModelPins({number: Pin(f"d{number}")} if number else {1: Pin("", "is missing")})
        for name, number in versions.items()
    }


def serves(wanted):
    """A worker that loads these pins, whatever it is told to."""
    return f"pins = {dump_pins(wanted)!r}\n" + WORKER


def replaced(generation, wanted, at=0):
    """Let a worker die, and be replaced by one that serves these pins."""
    worker = generation.workers[at]
    worker._command = code(serves(wanted))
    before = worker.pid
    worker.signal(signal.SIGKILL)
    until(generation, lambda: worker.is_ready and worker.pid != before)


def test_one_that_cannot_serve_what_the_others_do_is_told_of_in_one_line_and_tries_again(generation, caplog):
    """It is not started again and again, and what the others serve stays what all are to serve."""
    two = generation(serves(pins(a=2, b=2)), serves(pins(a=2, b=2)))
    until(two, lambda: two.is_ready)
    replaced(two, pins(a=1, b=2))
    (line,) = [message for message in caplog.messages if "other versions" in message]
    assert line == (
        "worker 0: files of the repository have changed or gone, so that it serves other versions than were served: a: "
        "version 1, not version 2. It tries again; SIGHUP restarts all with what the folder holds"
    )
    assert two._pins == pins(a=2, b=2)
    assert [worker.serves_all for worker in two.workers] == [False, True]


def test_what_no_worker_serves_any_more_none_is_to_serve(generation, caplog):
    two = generation(*[serves(pins(a=2, b=2, c=2))] * 2)
    until(two, lambda: two.is_ready)
    replaced(two, pins(a=1, b=2, c=0), at=0)
    assert two._pins == pins(a=2, b=2, c=2)
    replaced(two, pins(a=1, b=1, c=0), at=1)
    # a follows; worker 0 still has b 2; nobody has c, which is to be served when it is there again.
    assert two._pins == pins(a=1, b=2, c=2)
    assert len([message for message in caplog.messages if "other versions" in message]) == 2
    replaced(two, pins(a=1, b=1, c=2), at=0)
    assert two._pins == pins(a=1, b=1, c=2)


def test_what_was_still_being_loaded_is_no_difference(generation, caplog):
    loading = {"a": ModelPins({1: Pin("d1"), 2: Pin("")})}
    two = generation(serves(loading), serves(loading))
    until(two, lambda: two.is_ready)
    replaced(two, pins(a=2))
    assert not [message for message in caplog.messages if "other versions" in message]


def test_one_that_cannot_be_started_now_is_started_later(generation, monkeypatch, caplog):
    """No descriptors, processes or memory: the supervisor is not to end of it."""
    two = generation(WORKER, WORKER)
    until(two, lambda: two.is_ready)
    first = two.workers[0]
    start, failed = first.start, []

    def fail(*args):
        failed.append(args)
        if len(failed) <= 2:
            raise OSError(errno.EMFILE, "Too many open files")
        start(*args)

    monkeypatch.setattr(first, "start", fail)
    first.signal(signal.SIGKILL)
    until(two, lambda: not first.is_ready)
    until(two, lambda: first.is_ready)
    said = [message for message in caplog.messages if "cannot be started" in message]
    assert len(said) == 2
    assert said[0].startswith("worker 0 cannot be started: this process may open no more files and connections (limit ")
    assert said[0].endswith(": ulimit -n); tried again in 0.10 s")


def test_where_none_can_be_started_at_all_the_reason_is_one_line(generation, monkeypatch):
    one = generation(WORKER)

    def fail(*_):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(one.workers[0], "start", fail)
    with pytest.raises(StartError, match=r"^worker 0 cannot be started: this user may have no more processes and thr"):
        one.look()


def test_one_that_dies_is_replaced_serves_the_same_and_the_log_tells(generation, caplog):
    two = generation(WORKER, WORKER)
    until(two, lambda: two.is_ready)
    first, second = two.workers
    first.signal(signal.SIGKILL)
    with caplog.at_level(logging.INFO):
        until(two, lambda: "worker 0 is ready again" in caplog.messages)
    assert first.is_pinned
    assert first.pins == {}
    assert not second.is_pinned
    assert caplog.messages == [
        "worker 0 died with signal SIGKILL; another starts in 0.05 s",
        "worker 0 is ready again",
    ]


BEATING = LOADED + 'while True: time.sleep(0.02); say("beat")\n'


def test_one_that_is_silent_is_killed_and_one_that_beats_is_not(generation, caplog):
    two = generation(BEATING, WORKER)
    until(two, lambda: two.is_ready)
    process = two.workers[0]._process
    for worker in two.workers:
        worker._process.beat_at -= generations._SILENT_SECONDS / 2
    until(two, lambda: process.beat_at > time.monotonic() - generations._SILENT_SECONDS / 4)
    for worker in two.workers:
        worker._process.beat_at -= generations._SILENT_SECONDS / 2
    until(two, lambda: not two.workers[1].is_ready)
    assert [message.partition(" for ")[0] for message in caplog.messages] == [
        "worker 1 has made no progress",
        "worker 1 died with signal SIGKILL; another starts in 0.05 s",
    ]
    assert two.workers[0]._process is process


def test_one_that_is_stopped_is_killed_sooner(generation, monkeypatch, caplog):
    monkeypatch.setattr(generations, "_STOPPED_SECONDS", 0.1)
    one = generation(BEATING)
    until(one, lambda: one.is_ready)
    one.workers[0].signal(signal.SIGSTOP)
    until(one, lambda: not one.workers[0].is_ready)
    assert re.fullmatch(r"worker 0 is stopped, for \d+\.\d s at least: it is killed", caplog.messages[0])


def test_it_is_killed_once(generation, monkeypatch, caplog):
    """Until the kernel has come to it, it is looked at again."""
    monkeypatch.setattr(generations, "_SILENT_SECONDS", 10.0)
    one = generation(WORKER)
    until(one, lambda: one.is_ready)
    (worker,) = one.workers
    sent = []
    monkeypatch.setattr(worker, "signal", sent.append)
    worker._process.beat_at -= 11
    for _ in range(3):
        one.look()
    monkeypatch.undo()
    assert sent == [signal.SIGKILL]
    assert len(caplog.messages) == 1


def test_what_was_excused_is_not_killed(generation, monkeypatch, caplog):
    one = generation(WORKER)
    until(one, lambda: one.is_ready)
    clock = time.monotonic() + 100
    monkeypatch.setattr("rnnserve.server.workers.worker_process.time.monotonic", lambda: clock)
    one.excuse()
    one.look()
    assert not caplog.messages


def test_loading_may_take_long(generation, monkeypatch, caplog):
    """Only what listens is to beat."""
    monkeypatch.setattr(generations, "_SILENT_SECONDS", 0.0)
    one = generation("time.sleep(60)")
    for _ in range(10):
        one.look()
        time.sleep(0.01)
    assert one.workers[0].is_loading
    assert not caplog.messages
