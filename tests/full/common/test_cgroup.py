"""Limits of control groups that this machine itself sets."""

import contextlib
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

MB = 1 << 20
ASKED = "from rnnserve.common.cgroup import *; c = Cgroups(); print(usable_cores(), c.cores(), c.memory_left())"


@contextlib.contextmanager
def group(controller, limits):
    """A group of the machine's own, of version 1 or 2, of which what is started inside the block may be."""
    of_1 = Path("/sys/fs/cgroup", controller)
    folder = (of_1 if of_1.is_dir() else Path("/sys/fs/cgroup")) / f"rnnserve-test-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        try:
            for names, text in limits:
                next(folder / name for name in names if (folder / name).exists()).write_text(text)
        except (OSError, StopIteration):
            pytest.skip(f"the controller {controller} is not to be had here")
        yield folder / "cgroup.procs"
    finally:
        folder.rmdir()


def test_the_machine_s_own():
    memory = (("memory.max", "memory.limit_in_bytes"), str(64 * MB))
    period = (("cpu.max", "cpu.cfs_period_us"), "100000")
    half = (("cpu.max", "cpu.cfs_quota_us"), "50000")
    with group("memory", [memory]) as of_memory, group("cpu", [period, half]) as of_cpu:
        joined = f'echo $$ > "{of_memory}"; echo $$ > "{of_cpu}"; exec "$@"'
        command = ["sh", "-c", joined, "sh", sys.executable, "-c", ASKED]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert said[:2] == ["1", "0.5"]
    assert 32 * MB < int(said[2]) < 64 * MB
