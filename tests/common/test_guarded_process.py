"""A guarded process answers. However it ends, and whatever it does, the process that asks is told and goes on."""

import os
import socket
import sys
from pathlib import Path

import pytest

from kit import guarded_tasks
from rnnserve.common.guarded_process import GuardedProcess, ProcessEnded, ProcessTooSlow

PATIENCE = 60.0


@pytest.fixture
def process():
    process = GuardedProcess(guarded_tasks.__file__)
    assert process.receive(PATIENCE) == b""
    yield process
    process.close()


def ask(process, request: bytes, seconds: float = PATIENCE) -> bytes:
    process.send(request)
    return process.receive(seconds)


def test_requests_of_any_size_are_answered_in_order(process):
    requests = [b"", b"x", b"y" * 100_000, b"z" * 3_000_000, b""]
    assert [ask(process, request) for request in requests] == requests
    process.send(b"first")
    process.send(b"second")
    assert [process.receive(PATIENCE), process.receive(PATIENCE)] == [b"first", b"second"]


@pytest.mark.parametrize(("request_", "said"), [(b"signal SIGSEGV", "with SIGSEGV"), (b"raise", "with exit status 1")])
def test_end_of_the_process_is_told_to_who_asks(process, request_, said):
    with pytest.raises(ProcessEnded) as ended:
        ask(process, request_)
    assert str(ended.value) == said
    with pytest.raises(ProcessEnded):
        ask(process, b"x")


def test_what_takes_too_long_is_told_and_may_be_waited_for(process):
    with pytest.raises(ProcessTooSlow):
        ask(process, b"sleep 1", 0.05)
    assert process.receive(PATIENCE) == b"sleep 1"


def test_memory_is_limited_by_what_a_request_may_take(process):
    assert ask(process, b"allocate 50000000 10000000000") == b"too much"
    assert ask(process, b"allocate 50000000 60000000") == b"too much"
    assert ask(process, b"allocate 50000000 20000000") != b"too much"
    assert ask(process, b"allocate 90000000 60000000") != b"too much"


def test_it_holds_no_file_of_the_process_that_started_it():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.set_inheritable(listener.fileno(), True)
        process = GuardedProcess(guarded_tasks.__file__)
        process.receive(PATIENCE)
        # Three of every process, the pipe of answers, and the folder that is listed.
        assert len(ask(process, b"files").split(b",")) <= 6
        process.close()


def test_it_imports_from_where_this_process_does_and_not_from_the_working_directory(process):
    found = ask(process, b"path").decode().split(os.pathsep)
    assert set(filter(None, sys.path)) <= set(found)
    assert "" not in found


def test_kill_and_close_leave_no_process(process):
    process.send(b"sleep 60")
    process.kill()
    with pytest.raises(ProcessEnded, match=r"^with SIGKILL$"):
        process.receive(PATIENCE)
    process.close()
    process.close()
    assert not Path(f"/proc/{process.pid}").exists()
