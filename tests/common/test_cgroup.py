"""Limits of control groups, in the forms that they have: version 1 and 2, in a container and outside of one."""

import os

import pytest

from rnnserve.common import cgroup
from rnnserve.common.cgroup import Cgroups, usable_cores

MB = 1 << 20
NONE_IN_1 = str((1 << 63) - 4096)


@pytest.fixture
def system(tmp_path):
    """A function that makes a process's view: its groups, what is mounted where, and the files there."""
    root = tmp_path / "a folder"

    def make(groups, mounts, files):
        proc = root / "proc"
        proc.mkdir(parents=True)
        (proc / "cgroup").write_text("".join(f"{line}\n" for line in groups))
        lines = []
        for number, (seen, mounted, kind, options) in enumerate(mounts):
            place = str(root / mounted).replace(" ", "\\040")
            lines.append(f"{number} 23 0:28 {seen} {place} rw,relatime shared:9 - {kind} {kind} rw,{options}\n")
        (proc / "mountinfo").write_text("".join(["22 1 8:1 / / rw - ext4 /dev/vda rw\n", *lines]))
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(f"{text}\n")
        return Cgroups(proc)

    return make


UNIFIED = [("/", "sys", "cgroup2", "nsdelegate")]


def test_version_2(system):
    found = system(
        ["0::/unit/inner"],
        UNIFIED,
        {
            "sys/unit/inner/cpu.max": "max 100000",
            "sys/unit/inner/memory.max": "max",
            "sys/unit/inner/memory.current": str(10 * MB),
            "sys/unit/cpu.max": "150000 100000",
            "sys/unit/memory.max": str(100 * MB),
            "sys/unit/memory.current": str(60 * MB),
            "sys/unit/memory.stat": f"anon {30 * MB}\ninactive_file {15 * MB}\nactive_file {5 * MB}",
            "sys/cpu.stat": "usage_usec 1",
        },
    )
    assert (found.cores(), found.memory_left()) == (1.5, 60 * MB)


def test_of_a_group_and_its_parents_the_smallest_limit_counts(system):
    files = {"sys/a/cpu.max": "400000 100000", "sys/a/b/cpu.max": "50000 100000", "sys/a/b/c/cpu.max": "300000 100000"}
    for folder, limit in (("a", 50), ("a/b", 80), ("a/b/c", 60)):
        files |= {f"sys/{folder}/memory.max": str(limit * MB), f"sys/{folder}/memory.current": str(10 * MB)}
    found = system(["0::/a/b/c"], UNIFIED, files)
    assert (found.cores(), found.memory_left()) == (0.5, 40 * MB)


OF_1 = [("/", "sys/cpu,cpuacct", "cgroup", "cpu,cpuacct"), ("/", "sys/memory", "cgroup", "memory")]


def test_version_1_beside_a_version_2_without_controllers(system):
    found = system(
        ["9:name=systemd:/u", "4:memory:/g", "1:cpu,cpuacct:/g", "0::/u"],
        [*OF_1, ("/", "sys/unified", "cgroup2", "rw")],
        {
            "sys/memory/g/memory.limit_in_bytes": str(100 * MB),
            "sys/memory/g/memory.usage_in_bytes": str(90 * MB),
            "sys/memory/g/memory.stat": f"inactive_file 1\ntotal_inactive_file {14 * MB}\ntotal_active_file {1 * MB}",
            "sys/memory/memory.limit_in_bytes": NONE_IN_1,
            "sys/memory/memory.usage_in_bytes": str(900 * MB),
            "sys/cpu,cpuacct/g/cpu.cfs_quota_us": "250000",
            "sys/cpu,cpuacct/g/cpu.cfs_period_us": "100000",
            "sys/cpu,cpuacct/cpu.cfs_quota_us": "-1",
            "sys/cpu,cpuacct/cpu.cfs_period_us": "100000",
        },
    )
    assert (found.cores(), found.memory_left()) == (2.5, 25 * MB)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"sys/cpu.max": "max 100000", "sys/memory.max": "max", "sys/memory.current": "7"},
        {"sys/cpu.max": "", "sys/memory.max": "x", "sys/memory.current": "7"},
        {"sys/cpu.max": "5 0", "sys/memory.max": "5"},
    ],
    ids=["nothing", "max", "no numbers", "half"],
)
def test_without_a_limit(system, files):
    found = system(["0::/"], UNIFIED, files)
    assert (found.cores(), found.memory_left()) == (None, None)


@pytest.mark.parametrize(("quota", "cores"), [(None, 4), (0.5, 1), (1.0, 1), (2.5, 2), (9.0, 4)])
def test_cores_by_affinity_and_quota(monkeypatch, quota, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
    monkeypatch.setattr(cgroup.Cgroups, "cores", lambda _: quota)
    assert usable_cores() == cores
