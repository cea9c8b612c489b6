"""A guarded process answers. However it ends, and whatever it does, the process that asks is told and goes on."""

import contextlib
import os
import signal
import subprocess
import sys
import time

from kit import guarded_tasks
from kit.running_processes import is_running

PATIENCE = 60.0


def test_guarded_process_does_not_outlive_its_parent_even_when_stopped():
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
        "process.send(b'x')\n"
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
