"""Limits of control groups, in a container and outside of one."""

import os

import pytest

from rnnserve.common import cgroup
from rnnserve.common.cgroup import Cgroups, usable_cores

MB = 1 << 20


@pytest.fixture
def system(tmp_path):
    """A function that makes a process's view: its group, and the files there."""
    root = tmp_path / "a folder"

    def make(group, files):
        (root / "proc").mkdir(parents=True)
        (root / "proc/cgroup").write_text(f"1:name=systemd:/old\n0::{group}\n")
        (root / "sys").mkdir()
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(f"{text}\n")
        return Cgroups(root / "proc", root / "sys")

    return make


def test_limits_count_without_the_page_cache(system):
    found = system(
        "/unit/inner",
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


def test_smallest_limit_of_a_group_and_its_parents_applies(system):
    files = {"sys/a/cpu.max": "400000 100000", "sys/a/b/cpu.max": "50000 100000", "sys/a/b/c/cpu.max": "300000 100000"}
    for folder, limit in (("a", 50), ("a/b", 80), ("a/b/c", 60)):
        files |= {f"sys/{folder}/memory.max": str(limit * MB), f"sys/{folder}/memory.current": str(10 * MB)}
    found = system("/a/b/c", files)
    assert (found.cores(), found.memory_left()) == (0.5, 40 * MB)


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
def test_missing_limits_are_none(system, files):
    found = system("/", files)
    assert (found.cores(), found.memory_left()) == (None, None)


@pytest.mark.parametrize(("quota", "cores"), [(None, 4), (0.5, 1), (1.0, 1), (2.5, 2), (9.0, 4)])
def test_usable_cores_respect_affinity_and_quota(monkeypatch, quota, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
    monkeypatch.setattr(cgroup.Cgroups, "cores", lambda _: quota)
    assert usable_cores() == cores
