"""Read the CPU and memory limits of this process's control group, set by a container or a systemd unit.

A group's limit applies to all groups inside it, so the smallest limit of a group and its parents counts. These are the
files of version 2 ("Control Group v2" in the kernel's documentation). Limits of version 1 aren't read.
"""

import math
import os
from pathlib import Path

__all__ = ["Cgroups", "usable_cores"]


class Cgroups:
    """Reads the limits of a process's control group. An unreadable limit counts as no limit."""

    def __init__(self, proc: Path = Path("/proc/self"), mounted: Path = Path("/sys/fs/cgroup")) -> None:
        name = next((line[3:] for line in _read(proc / "cgroup").splitlines() if line.startswith("0::")), "")
        folder = mounted / name.lstrip("/")
        folder = folder if folder.is_dir() else mounted  # in a container, the name may be that on the host
        self._folders = [each for each in (folder, *folder.parents) if each.is_relative_to(mounted)]

    def cores(self) -> float | None:
        """Return the CPU quota in cores (CPU seconds per second), or None without a quota."""
        found = [quota for folder in self._folders if (quota := _quota(folder)) is not None]
        return min(found, default=None)

    def memory_left(self) -> int | None:
        """Return how many more bytes all processes of the groups together can allocate, or None without a limit.

        The page cache counts as available, because the kernel frees it when memory is short.
        """
        found = [left for folder in self._folders if (left := _memory_left(folder)) is not None]
        return min(found, default=None)


def usable_cores() -> int:
    """Return the number of cores that this process may use, at least 1, by its CPU affinity and its group's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Cgroups().cores()
    return cores if quota is None else max(1, min(cores, math.floor(quota)))


def _quota(folder: Path) -> float | None:
    quota, period, *_ = map(_number, [*_read(folder / "cpu.max").split(), "", ""])
    return None if quota is None or not period else quota / period


def _memory_left(folder: Path) -> int | None:
    limit, used = _number(_read(folder / "memory.max")), _number(_read(folder / "memory.current"))
    if limit is None or used is None:
        return None
    statistics = dict(line.split(None, 1) for line in _read(folder / "memory.stat").splitlines() if " " in line)
    cached = sum(_number(statistics.get(f"{kind}_file", "")) or 0 for kind in ("inactive", "active"))
    return limit - max(used - cached, 0)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _number(text: str) -> int | None:
    """Return a number of 0 or more, or None for "max" and any other text."""
    return int(text) if text.isascii() and text.isdigit() else None
