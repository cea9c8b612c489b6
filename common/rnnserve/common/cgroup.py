"""The control groups that this process is in (a container's, a unit's of systemd): what they let it take.

A limit holds for a group and all that are in it, so that the smallest of a group's and its parents' counts. Version 2
has `memory.max` and `cpu.max`, version 1 `memory.limit_in_bytes`, `cpu.cfs_quota_us` and `cpu.cfs_period_us`. A machine
may have both (cgroups(7), and "Control Group v2" of the kernel's documentation).
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Cgroups", "usable_cores"]

_NO_LIMIT = 1 << 60
"""Bytes from which on a limit of version 1 is none: it has no word for that, but the largest multiple of a page."""


class Cgroups:
    """Reads the limits of the groups that a process is in. What cannot be read limits nothing."""

    def __init__(self, proc: Path = Path("/proc/self")) -> None:
        self._memory = list(_folders(proc, "memory"))
        self._cores = list(_folders(proc, "cpu"))

    def cores(self) -> float | None:
        """Processors' time that the groups let their processes take, in seconds a second. None without a limit."""
        found = [quota for folder in self._cores if (quota := _quota(folder)) is not None]
        return min(found, default=None)

    def memory_left(self) -> int | None:
        """Bytes of memory that may still be taken in the groups, by all their processes. None without a limit.

        What the kernel keeps of files that were read is given back where it is needed: it is left.
        """
        found = [left for folder in self._memory if (left := _memory_left(folder)) is not None]
        return min(found, default=None)


def usable_cores() -> int:
    """Cores that this process may use, by its affinity and by the quota of its groups: 1 at least."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Cgroups().cores()
    return cores if quota is None else max(1, min(cores, math.floor(quota)))


def _folders(proc: Path, controller: str) -> Iterator[Path]:
    """Folders of the groups that a controller has the process in, innermost first: of version 1, or of version 2."""
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
    """The folder of the group `path` and those of its parents, up to the group `root`, which is mounted at `mounted`.

    Within a container, `path` may be the machine's name of the group, which the mount does not have.
    """
    folder = mounted / path.relative_to(root) if path.is_relative_to(root) else mounted
    while True:
        yield folder
        if folder == mounted:
            return
        folder = folder.parent


def _unescaped(field: str) -> str:
    """A path of mountinfo, in which a space is written as its octal number."""
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
    """A number of 0 or more. None for "max", -1 and what is none."""
    return int(text) if text.isascii() and text.isdigit() else None
