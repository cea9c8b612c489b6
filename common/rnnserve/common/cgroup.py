"""Read the CPU and memory limits of this process's control groups, set by a container or a systemd unit.

A group's limit applies to all groups inside it, so the smallest limit of a group and its parents counts. Version 2 has
`memory.max` and `cpu.max`. Version 1 has `memory.limit_in_bytes`, `cpu.cfs_quota_us` and `cpu.cfs_period_us`. A machine
may have both versions (see cgroups(7), and "Control Group v2" in the kernel's documentation).
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Cgroups", "usable_cores"]

_NO_LIMIT = 1 << 60
"""Bytes. Version 1 has no word for "unlimited" and reports a huge number, so larger limits count as none."""


class Cgroups:
    """Reads the limits of a process's control groups. An unreadable limit counts as no limit."""

    def __init__(self, proc: Path = Path("/proc/self")) -> None:
        self._memory = list(_folders(proc, "memory"))
        self._cores = list(_folders(proc, "cpu"))

    def cores(self) -> float | None:
        """Return the CPU quota in cores (CPU seconds per second), or None without a quota."""
        found = [quota for folder in self._cores if (quota := _quota(folder)) is not None]
        return min(found, default=None)

    def memory_left(self) -> int | None:
        """Return how many more bytes all processes of the groups together can allocate, or None without a limit.

        The page cache counts as available, because the kernel frees it when memory is short.
        """
        found = [left for folder in self._memory if (left := _memory_left(folder)) is not None]
        return min(found, default=None)


def usable_cores() -> int:
    """Return the number of cores that this process may use, at least 1, by its CPU affinity and its groups' quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Cgroups().cores()
    return cores if quota is None else max(1, min(cores, math.floor(quota)))


def _folders(proc: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the process's groups with this controller, innermost first, for version 1 or version 2."""
    try:
        groups = [line.split(":", 2) for line in (proc / "cgroup").read_text().splitlines()]
        mounts = [line.split() for line in (proc / "mountinfo").read_text().splitlines()]
    except OSError:
        return
    for fields in mounts:
        kind, _, options = fields[fields.index("-") + 1 :][:3]
        if kind == "cgroup2":
            paths = [path for _, controllers, path in groups if not controllers]
        elif kind == "cgroup" and controller in options.split(","):
            paths = [path for _, controllers, path in groups if controller in controllers.split(",")]
        else:
            continue
        root, mounted = map(_unescaped, fields[3:5])
        for path in paths:
            yield from _upwards(Path(mounted), Path(root), Path(path))


def _upwards(mounted: Path, root: Path, path: Path) -> Iterator[Path]:
    """Yield the folders of the group `path` and its parents, up to the group `root`, which is mounted at `mounted`.

    Inside a container, `path` may be the group's name on the host, which doesn't exist below the mount.
    """
    folder = mounted / path.relative_to(root) if path.is_relative_to(root) else mounted
    while True:
        yield folder
        if folder == mounted:
            return
        folder = folder.parent


def _unescaped(field: str) -> str:
    """Decode a path of mountinfo, which writes spaces, tabs and backslashes as octal numbers."""
    return field.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")


def _quota(folder: Path) -> float | None:
    words = _read(folder / "cpu.max").split()
    if len(words) != 2:
        words = [_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")]
    quota, period = map(_number, words)
    return None if quota is None or not period else quota / period


def _memory_left(folder: Path) -> int | None:
    limit, used = _number(_read(folder / "memory.max")), _number(_read(folder / "memory.current"))
    if used is None:
        limit = _number(_read(folder / "memory.limit_in_bytes"))
        used = _number(_read(folder / "memory.usage_in_bytes"))
    if limit is None or used is None or limit >= _NO_LIMIT:
        return None
    statistics = dict(line.split(None, 1) for line in _read(folder / "memory.stat").splitlines() if " " in line)
    prefix = "total_" if "total_inactive_file" in statistics else ""
    cached = sum(_number(statistics.get(f"{prefix}{kind}_file", "")) or 0 for kind in ("inactive", "active"))
    return limit - max(used - cached, 0)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _number(text: str) -> int | None:
    """Return a number of 0 or more, or None for "max", -1 and any other text."""
    return int(text) if text.isascii() and text.isdigit() else None
