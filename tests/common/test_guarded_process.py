"""A guarded process answers requests. If it crashes or hangs, the caller gets an error and goes on."""

import os
import socket
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
def test_caller_gets_the_reason_why_the_process_ended(process, request_, said):
    with pytest.raises(ProcessEnded) as ended:
        ask(process, request_)
    assert str(ended.value) == said
    with pytest.raises(ProcessEnded):
        ask(process, b"x")


def test_slow_answer_can_still_be_received(process):
    with pytest.raises(ProcessTooSlow):
        ask(process, b"sleep 1", 0.05)
    assert process.receive(PATIENCE) == b"sleep 1"


def test_memory_of_a_request_is_limited(process):
    assert ask(process, b"allocate 50000000 10000000000") == b"too much"
    assert ask(process, b"allocate 50000000 60000000") == b"too much"
    assert ask(process, b"allocate 50000000 20000000") != b"too much"
    assert ask(process, b"allocate 90000000 60000000") != b"too much"


def test_process_inherits_no_open_files():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.set_inheritable(listener.fileno(), True)
        process = GuardedProcess(guarded_tasks.__file__)
        process.receive(PATIENCE)
        # Three of every process, the pipe of answers, and the folder that is listed.
        assert len(ask(process, b"files").split(b",")) <= 6
        process.close()


def test_kill_and_close_leave_no_process(process):
    process.send(b"sleep 60")
    process.kill()
    with pytest.raises(ProcessEnded, match=r"^with SIGKILL$"):
        process.receive(PATIENCE)
    process.close()
    process.close()
    assert not Path(f"/proc/{process.pid}").exists()
