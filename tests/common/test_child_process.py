"""Child processes end with this one, within a time limit, and are started again after a wait."""

import os
import signal
import subprocess
import sys

import pytest

from kit.narrowed import BARE_PYTHON
from kit.running_processes import is_running
from kit.waiting import PATIENCE, until
from rnnserve.common.child_process import ChildProcess, KeptProcess, exit_text, restart_delay

SLEEPS = "import time; time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
ECHOES = """
import os
while said := os.read(0, 100): print(said.decode(), end="", flush=True)
print("the end", flush=True)
"""


def test_restart_delay_doubles_up_to_five_seconds():
    waits = [0.0]
    for lived in (0, 0.99, 0.99, 0.99, 0.99, 0.99, 0.99, 0.99, 0.99, 1.0):
        waits.append(restart_delay(waits[-1], lived))
    assert waits == [0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 0.05]


@pytest.mark.parametrize(("code", "number"), [(SLEEPS, signal.SIGTERM), (DEAF, signal.SIGKILL)])
def test_child_ends_within_the_time_limit(code, number):
    child = ChildProcess([*BARE_PYTHON, code], stdout=subprocess.PIPE)
    if code == DEAF:
        assert child.stdout.readline()
    assert child.end(0.2) == -number
    assert exit_text(child.status()) == f"signal {number.name}"


def test_child_receives_messages_and_the_end_of_its_parent():
    child = ChildProcess([*BARE_PYTHON, ECHOES], stdout=subprocess.PIPE, text=True)
    child.tell(b"listen\n")
    assert child.stdout.readline() == "listen\n"
    child._popen.stdin.close()
    assert child.stdout.readline() == "the end\n"
    assert child.wait(PATIENCE) == 0
    child.close()


def test_kept_process_restarts_until_it_is_stopped():
    started, reports = [], []

    def start():
        if len(started) == 1:
            started.append(None)
            raise FileNotFoundError(2, "No such file or directory")
        started.append(ChildProcess([*BARE_PYTHON, "raise SystemExit(7)" if not started else SLEEPS]))
        return started[-1]

    kept = KeptProcess("kept", start, lambda ended, wait: reports.append((ended, wait)))
    kept.start()
    until(lambda: len(started) == 3)
    assert reports == [("ended with exit status 7", 0.05), ("cannot start: No such file or directory", 0.1)]
    kept.end()
    assert kept.wait(PATIENCE)
    assert started[-1].status() == -signal.SIGTERM
    assert len(started) == 3


def test_child_ends_with_the_process_that_started_it():
    code = (
        "import sys, time\nfrom rnnserve.common.child_process import ChildProcess\n"
        f"child = ChildProcess([{sys.executable!r}, '-c', '''\n"
        "import sys, time\nfrom rnnserve.common.child_process import die_with_parent\n"
        "die_with_parent()\nprint(flush=True)\ntime.sleep(60)\n"
        "'''], stdout=-1)\nchild.stdout.readline()\nprint(child.pid, flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        os.kill(pid, signal.SIGSTOP)
        parent.kill()
    until(lambda: not is_running(pid))
