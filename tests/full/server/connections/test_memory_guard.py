"""The guard of the process's memory, and how the C library gives memory back."""

import platform
import subprocess
import sys

import pytest

SCATTERED_BLOCKS = """
from rnnserve.common.allocation import give_back_free_memory
from rnnserve.common.resident_memory import resident_bytes

blocks = [bytearray(b"x") * (100 << 10) for _ in range(1000)]
kept = blocks[::10]
del blocks
before = resident_bytes()
give_back_free_memory()
print(before - resident_bytes())
"""
BLOCKS_OF_THREADS = """
import sys, threading
from rnnserve.common.allocation import use_few_arenas

if sys.argv[1] == "few":
    assert use_few_arenas()
blocks, together = [], threading.Barrier(8)

def take():
    together.wait()
    blocks.append(bytes(50_000))
    together.wait()

threads = [threading.Thread(target=take) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
(heap,) = [line.split()[0] for line in open("/proc/self/maps") if line.endswith("[heap]\\n")]
start, end = (int(address, 16) for address in heap.split("-"))
print(len({0 if start <= id(block) < end else id(block) >> 26 for block in blocks}))
"""
"""In how many arenas they are: the heap is the first one, each other has pieces of 64 MB."""
LARGE_BLOCKS = """
import sys
from rnnserve.common.allocation import give_back_large_blocks
from rnnserve.common.resident_memory import resident_bytes

if sys.argv[1] == "fixed":
    assert give_back_large_blocks()
largest = [bytearray(b"x") * (20 << 20) for _ in range(3)]  # blocks of this size, too, are kept once one was freed
del largest
before, large, kept = resident_bytes(), [], []
for _ in range(12):
    large.append(bytearray(b"x") * (10 << 20))
    kept.append(bytearray(b"x") * (100 << 10))
del large
print(resident_bytes() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's function")
def test_free_memory_between_smaller_blocks_is_given_back():
    assert printed_number(SCATTERED_BLOCKS) > 50 << 20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's setting")
def test_threads_take_their_blocks_from_two_arenas():
    assert printed_number(BLOCKS_OF_THREADS, "few") <= 2
    assert printed_number(BLOCKS_OF_THREADS, "many") > 2


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's setting")
def test_large_blocks_are_given_back_which_otherwise_are_kept():
    kept = {how: printed_number(LARGE_BLOCKS, how) for how in ("fixed", "default")}
    assert kept["fixed"] < 16 << 20
    assert kept["default"] > 60 << 20


def printed_number(code, *args):
    """What a Python process of its own prints: what this one has allocated before changes what its C library does."""
    return int(subprocess.run([sys.executable, "-c", code, *args], stdout=-1, timeout=60, check=True).stdout)
