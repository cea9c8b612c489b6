"""What the system does not give is the reason why a server cannot start: one line, with the limit."""

import errno
import math
import resource
import threading
import types

import pytest

from rnnserve.server.errors import StartError
from rnnserve.server.process.start_check import check_room, start_error


@pytest.fixture
def start(monkeypatch):
    """Notes the threads that are started here. More than a number of them cannot be. Other threads start as they do."""
    here, start = threading.current_thread(), threading.Thread.start
    noted = types.SimpleNamespace(most=math.inf, threads=[])

    def start_some(thread):
        if threading.current_thread() is here:
            if len(noted.threads) == noted.most:
                raise RuntimeError("can't start new thread")
            noted.threads.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_some)
    return noted


def test_where_there_is_room_nothing_is_left_of_the_look(start):
    check_room()
    assert len(start.threads) > 3
    assert not any(thread.is_alive() for thread in start.threads)


def test_threads_that_cannot_be_started_are_told_of_and_the_others_end(start):
    start.most = 3
    with pytest.raises(StartError, match=r"^cannot start: this user may have no more processes and threads \(limit "):
        check_room()
    assert len(start.threads) == 3
    assert not any(thread.is_alive() for thread in start.threads)


def test_memory_that_cannot_be_had_is_told_of():
    with pytest.raises(StartError, match=r"^cannot start: there is no memory, or address space, left"):
        check_room(1 << 60)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "ulimit -v"),
        (ImportError("libx.so: failed to map segment from shared object"), "ulimit -v"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), "ulimit -u"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (OSError(errno.EACCES, "Permission denied"), "Permission denied"),
    ],
)
def test_what_has_run_out_is_named(error, said):
    assert said in str(start_error(error))


def test_where_address_space_is_limited_threads_take_it(monkeypatch):
    limits = {resource.RLIMIT_AS: (400_000 << 10, 400_000 << 10)}
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits[which])
    said = str(start_error(RuntimeError("can't start new thread")))
    assert said.endswith("(limit 400,000: ulimit -v)")


def test_a_defect_is_no_reason_to_start_again():
    assert start_error(RuntimeError("dictionary changed size during iteration")) is None
    assert start_error(ImportError("cannot import name x")) is None
