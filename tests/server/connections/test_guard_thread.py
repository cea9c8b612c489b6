"""The thread on which guards look."""

import threading

from kit.waiting import PATIENCE, until
from rnnserve.server.clock import now
from rnnserve.server.connections.guard_thread import GuardThread


def test_all_guards_look_until_it_is_closed(caplog):
    """Also after one of them had no descriptor to look with."""
    began, times, failed = now(), [], threading.Semaphore(0)

    def fail(at):
        failed.release()
        raise OSError(24, "Too many open files")

    before = set(threading.enumerate())
    guards = GuardThread(0.001)
    guards.add(fail)
    guards.add(times.append)
    for _ in range(3):
        assert failed.acquire(timeout=PATIENCE)
    until(lambda: len(times) > 2)
    guards.close()
    until(lambda: "guards" not in {thread.name for thread in set(threading.enumerate()) - before})
    assert times == sorted(times)
    assert began < times[0] <= times[-1] < now()
    assert "a guard cannot look: [Errno 24] Too many open files" in caplog.text
