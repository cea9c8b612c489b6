"""Workers share a port, outlive one another, and end together."""

from pathlib import Path

import pytest

from kit.running_processes import is_running
from kit.served import served
from kit.waiting import until

needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers through /proc")


@needs_proc
def test_workers_do_not_outlive_a_supervisor_that_was_killed(repository):
    with served(repository, "process", workers=2) as server:
        workers = server.workers()
        assert len(workers) == 2
        server.kill()
        until(lambda: not any(is_running(pid) for pid in workers))
