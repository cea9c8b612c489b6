"""Workers of one generation load, listen together, serve the same, and are replaced where they die or hang."""

import errno
import signal

from kit.supervised import WORKER, until_seen


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
