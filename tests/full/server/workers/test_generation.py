"""Workers of one generation load, listen together, serve the same, and are replaced where they die or hang."""

import errno
import signal
import time

from kit.supervised import LOADED, WORKER, code, until_seen
from rnnserve.server.repository.pins import ModelPins, Pin, dump_pins
from rnnserve.server.workers import generation as generations


def test_none_listens_before_all_have_loaded(generation, tmp_path):
    mark = tmp_path / "mark"
    wait = f"while not os.path.exists({str(mark)!r}): time.sleep(0.01)\n"
    first, second = (two := generation(WORKER, wait + WORKER)).workers
    until_seen(two, lambda: first.is_loaded)
    for _ in range(5):
        two.look()
    assert first.is_loaded
    assert second.is_loading
    mark.touch()
    until_seen(two, lambda: two.is_ready)
    assert first.is_ready
    assert second.is_ready


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
    until_seen(generation, lambda: worker.is_ready and worker.pid != before)


def test_one_that_cannot_serve_what_the_others_do_is_told_of_in_one_line_and_tries_again(generation, caplog):
    """It is not started again and again, and what the others serve stays what all are to serve."""
    two = generation(serves(pins(a=2, b=2)), serves(pins(a=2, b=2)))
    until_seen(two, lambda: two.is_ready)
    replaced(two, pins(a=1, b=2))
    (line,) = [message for message in caplog.messages if "other versions" in message]
    assert line == (
        "worker 0: files of the repository have changed or gone, so that it serves other versions than were served: a: "
        "version 1, not version 2. It tries again; SIGHUP restarts all with what the folder holds"
    )
    assert two._pins == pins(a=2, b=2)
    assert [worker.serves_all for worker in two.workers] == [False, True]


def test_one_that_cannot_be_started_now_is_started_later(generation, monkeypatch, caplog):
    """No descriptors, processes or memory: the supervisor is not to end of it."""
    two = generation(WORKER, WORKER)
    until_seen(two, lambda: two.is_ready)
    first = two.workers[0]
    start, failed = first.start, []

    def fail(*args):
        failed.append(args)
        if len(failed) <= 2:
            raise OSError(errno.EMFILE, "Too many open files")
        start(*args)

    monkeypatch.setattr(first, "start", fail)
    first.signal(signal.SIGKILL)
    until_seen(two, lambda: not first.is_ready)
    until_seen(two, lambda: first.is_ready)
    said = [message for message in caplog.messages if "cannot be started" in message]
    assert len(said) == 2
    assert said[0].startswith("worker 0 cannot be started: this process may open no more files and connections (limit ")
    assert said[0].endswith(": ulimit -n); tried again in 0.10 s")


BEATING = LOADED + 'while True: time.sleep(0.02); say("beat")\n'


def test_one_that_is_silent_is_killed_and_one_that_beats_is_not(generation, caplog):
    two = generation(BEATING, WORKER)
    until_seen(two, lambda: two.is_ready)
    process = two.workers[0]._process
    for worker in two.workers:
        worker._process.beat_at -= generations._SILENT_SECONDS / 2
    until_seen(two, lambda: process.beat_at > time.monotonic() - generations._SILENT_SECONDS / 4)
    for worker in two.workers:
        worker._process.beat_at -= generations._SILENT_SECONDS / 2
    until_seen(two, lambda: not two.workers[1].is_ready)
    assert [message.partition(" for ")[0] for message in caplog.messages] == [
        "worker 1 has made no progress",
        "worker 1 died with signal SIGKILL; another starts in 0.05 s",
    ]
    assert two.workers[0]._process is process
