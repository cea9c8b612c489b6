"""The guard of the process's memory, and how the C library gives memory back."""

import platform
import queue
import subprocess
import sys

import pytest

from rnnserve.server.transport import memory_guard
from rnnserve.server.transport.memory_guard import MemoryGuard, resident_bytes

PATIENCE = 20.0

LARGE_BLOCKS = """
import sys
from rnnserve.server.transport.allocation import give_back_large_blocks
from rnnserve.server.transport.memory_guard import resident_bytes

if sys.argv[1] == "fixed":
    assert give_back_large_blocks()
largest = [bytearray(b"x") * (20 << 20) for _ in range(3)]  # blocks of this size, too, are kept once one was freed
del largest
before, large, kept = resident_bytes(), [], []
for _ in range(40):
    large.append(bytearray(b"x") * (3 << 20))
    kept.append(bytearray(b"x") * (100 << 10))
del large
print(resident_bytes() - before)
"""


def test_the_resident_memory_of_this_process():
    before = resident_bytes()
    assert before is not None
    block = bytearray(b"x") * (64 << 20)
    assert 50 << 20 < resident_bytes() - before < 100 << 20
    del block


def test_calls_are_ended_while_memory_is_short(monkeypatch):
    resident, asked = [100], queue.Queue()
    monkeypatch.setattr(memory_guard, "resident_bytes", lambda: resident[0])

    def end_late(count):
        asked.put(count)
        resident[0] -= 300
        return 1

    guard = MemoryGuard(500, end_late)
    resident[0] = 600
    with pytest.raises(queue.Empty):
        asked.get(timeout=0.3)
    resident[0] = 1200
    assert asked.get(timeout=PATIENCE) > 0
    assert asked.get(timeout=PATIENCE) > 0
    with pytest.raises(queue.Empty):
        asked.get(timeout=0.3)
    assert resident[0] == 600
    guard.close()


def test_where_the_system_does_not_tell_there_is_no_guard(monkeypatch):
    monkeypatch.setattr(memory_guard, "resident_bytes", lambda: None)
    guard = MemoryGuard(0, lambda _: pytest.fail("it ends calls"))
    guard.close()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's setting")
def test_large_blocks_are_given_back_which_otherwise_are_kept():
    kept = {
        how: int(subprocess.run([sys.executable, "-c", LARGE_BLOCKS, how], stdout=-1, timeout=60, check=True).stdout)
        for how in ("fixed", "default")
    }
    assert kept["fixed"] < 16 << 20
    assert kept["default"] > 60 << 20
