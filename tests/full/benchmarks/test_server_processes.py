"""Servers end with all of their children, and their failures are reported in one line."""

import pytest

from benchmarks.errors import ServerFailed
from benchmarks.server_processes import ServerProcess, resident_bytes, running_server
from kit.bare_python import BARE_PYTHON
from kit.running_processes import is_running

READY = r"gRPC on 127\.0\.0\.1:(\d+)"
SERVER = """
import subprocess, sys, time
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", deaf], stdout=subprocess.PIPE)
child.stdout.readline()
print("gRPC on 127.0.0.1:1234", flush=True)
time.sleep(60)
"""


def test_a_server_is_ended_with_its_children_even_those_that_ignore_sigterm(tmp_path):
    with running_server("a server", [*BARE_PYTHON, SERVER], READY, tmp_path / "log") as process:
        assert process.port == 1234
        assert process.seconds > 0
        pids = process.pids
        assert len(pids) == 2
        assert resident_bytes(pids) > 1_000_000
    assert not any(is_running(pid) for pid in pids)


def test_a_server_that_does_not_come_up_says_why_in_its_last_line(tmp_path):
    command = [*BARE_PYTHON, "import sys; sys.exit('no such model')"]
    with pytest.raises(ServerFailed, match="a server ended by itself with status 1: no such model"):
        ServerProcess("a server", command, READY, tmp_path / "log")
