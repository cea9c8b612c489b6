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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's function")
def test_free_memory_between_smaller_blocks_is_given_back():
    assert printed_number(SCATTERED_BLOCKS) > 50 << 20


def printed_number(code, *args):
    """What a Python process of its own prints: what this one has allocated before changes what its C library does."""
    return int(subprocess.run([sys.executable, "-c", code, *args], stdout=-1, timeout=60, check=True).stdout)
