"""Describes the machine and the package versions that a test ran on."""

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
        "processor": _processor(),
        "cores": str(usable) if usable == all_cores else f"{usable} of {all_cores}",
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        **{name: _version(name) for name in ("rnnserve", "grpcio", "numpy", "protobuf")},
    }
    return {name: text for name, text in found.items() if text}


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        if model:
            return model[1].strip()
    return platform.processor()


def _memory() -> str:
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return ""
    return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
