"""A guarded process answers; however it ends, and whatever it does, the process that asks is told and goes on."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kit import guarded_tasks
from kit.running_processes import is_running
from rnnserve.common.guarded_process import GuardedProcess, ProcessEnded, ProcessTooSlow

PATIENCE = 60.0


@pytest.fixture
def process():
    process = GuardedProcess(guarded_tasks.__file__)
    assert process.receive(PATIENCE) == b""
    yield process
    process.close()


def ask(process, request: bytes, seconds: float = PATIENCE) -> bytes:
    process.send(request, seconds)
    return process.receive(seconds)


def test_requests_of_any_size_are_answered_in_order(process):
    requests = [b"", b"x", b"y" * 100_000, b"z" * 3_000_000, b""]
    assert [ask(process, request) for request in requests] == requests
    process.send(b"first", PATIENCE)
    process.send(b"second", PATIENCE)
    assert [process.receive(PATIENCE), process.receive(PATIENCE)] == [b"first", b"second"]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (b"signal SIGSEGV", "with SIGSEGV"),
        (b"signal SIGABRT", "with SIGABRT"),
        (b"signal SIGKILL", "with SIGKILL"),
        (b"raise", "with exit status 1"),
    ],
)
def test_it_is_told_how_the_process_ended(process, request_, said):
    with pytest.raises(ProcessEnded) as ended:
        ask(process, request_)
    assert str(ended.value) == said
    with pytest.raises(ProcessEnded):
        ask(process, b"x")


def test_a_signal_without_a_name_has_its_number(process):
    process.send(b"sleep 60", PATIENCE)
    os.kill(process.pid, signal.SIGRTMIN + 3)
    with pytest.raises(ProcessEnded, match=rf"^with signal {signal.SIGRTMIN + 3}$"):
        process.receive(PATIENCE)


def test_what_takes_too_long_is_told_and_may_be_waited_for(process):
    with pytest.raises(ProcessTooSlow):
        ask(process, b"sleep 1", 0.05)
    assert process.receive(PATIENCE) == b"sleep 1"


def test_a_process_that_takes_no_request_is_too_slow(process):
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(ProcessTooSlow):
        process.send(bytes(10_000_000), 0.2)


def test_memory_is_limited_by_what_a_request_may_take(process):
    assert ask(process, b"allocate 50000000 10000000000") == b"too much"
    assert ask(process, b"allocate 50000000 60000000") == b"too much"
    assert ask(process, b"allocate 50000000 20000000") != b"too much"
    assert ask(process, b"allocate 90000000 60000000") != b"too much"


def test_processor_time_is_limited_where_nothing_else_can_be(process):
    with pytest.raises(ProcessEnded, match=r"^with SIGXCPU$"):
        ask(process, b"compute 0.2")


def test_what_it_prints_is_no_answer_and_is_not_seen(process, capfd):
    assert ask(process, b"print") == b"print"
    assert ask(process, b"x") == b"x"
    assert capfd.readouterr() == ("", "")


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


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="looks at /proc")
def test_where_memory_runs_out_it_is_killed_before_others(process):
    assert ask(process, b"killed first").strip() == b"1000"


def test_kill_and_close_leave_no_process(process):
    process.send(b"sleep 60", PATIENCE)
    process.kill()
    with pytest.raises(ProcessEnded, match=r"^with SIGKILL$"):
        process.receive(PATIENCE)
    process.close()
    process.close()
    assert not Path(f"/proc/{process.pid}").exists()


@pytest.mark.parametrize("task", ["sleep 60", "compute 2"])
def test_it_does_not_outlive_the_process_that_started_it(task):
    """In a run that releases the interpreter's lock it ends at once; in one that keeps it, by its processor time."""
    code = (
        "import sys, time\n"
        "from rnnserve.common.guarded_process import GuardedProcess\n"
        f"process = GuardedProcess({guarded_tasks.__file__!r})\n"
        "process.receive(60)\n"
        f"process.send({task!r}.encode(), 60)\n"
        "print(process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    path = os.pathsep.join(filter(None, sys.path))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + PATIENCE
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_it_does_not_outlive_it_though_it_is_stopped():
    """What is stopped reads no pipe: the kernel ends it. The end of the thread that asked for it is no end."""
    code = (
        "import threading, time\n"
        "from rnnserve.common.guarded_process import GuardedProcess\n"
        "made = []\n"
        "def start():\n"
        f"    made.append(GuardedProcess({guarded_tasks.__file__!r}))\n"
        "    made[0].receive(60)\n"
        "thread = threading.Thread(target=start)\n"
        "thread.start(); thread.join()\n"
        "(process,) = made\n"
        "time.sleep(0.2)\n"
        "process.send(b'x', 60)\n"
        "assert process.receive(60) == b'x'\n"
        "print(process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    path = os.pathsep.join(filter(None, sys.path))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as parent:
        pid = int(parent.stdout.readline())
        os.kill(pid, signal.SIGSTOP)
        parent.kill()
    deadline = time.monotonic() + PATIENCE
    try:
        while is_running(pid):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_fork_can_start_one():
    """It has the memory of the process that it comes from, and none of its threads."""
    code = (
        "import os\n"
        "from rnnserve.common.guarded_process import GuardedProcess\n"
        f"first = GuardedProcess({guarded_tasks.__file__!r})\n"
        "if not (pid := os.fork()):\n"
        f"    second = GuardedProcess({guarded_tasks.__file__!r})\n"
        "    second.receive(60)\n"
        "    os._exit(7)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7\n"
    )
    path = os.pathsep.join(filter(None, sys.path))
    env = {**os.environ, "PYTHONPATH": path}
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], timeout=PATIENCE, check=True, env=env)


def test_it_gives_way_as_far_as_it_is_told():
    nice = GuardedProcess(guarded_tasks.__file__, niceness=7)
    try:
        assert os.getpriority(os.PRIO_PROCESS, nice.pid) == os.getpriority(os.PRIO_PROCESS, 0) + 7
        assert nice.receive(PATIENCE) == b""
    finally:
        nice.close()
