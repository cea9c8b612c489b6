"""Describes the machine and the package versions that a test ran on."""

import contextlib
import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rnnserve.common.cgroup import usable_cores

__all__ = ["describe_machine"]


def describe_machine() -> dict[str, str]:
    """Return the known facts about this machine, as text by name."""
    usable, all_cores = usable_cores(), os.cpu_count()
    found = {
        "processor": platform.processor(),
        "cores": str(usable) if usable == all_cores else f"{usable} of {all_cores}",
        "memory": "",
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    with contextlib.suppress(ValueError, AttributeError):  # not every system has these names
        found["memory"] = f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB"
    with contextlib.suppress(OSError):  # only Linux has this file
        model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        found["processor"] = model[1].strip() if model else found["processor"]
    for package in ("rnnserve", "grpcio", "numpy", "protobuf"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return {name: text for name, text in found.items() if text}
