"""What the figures were measured on, and with."""

import contextlib
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path

from benchmarks.environments import BENCH, PERF, h2load

__all__ = ["hardware", "is_busy", "versions"]

_OURS = ("rnnserve", "grpcio", "onnxruntime", "numpy", "protobuf")


def hardware() -> dict[str, str]:
    """Name processor, memory, operating system, and what else the machine is doing."""
    processor = re.search(r"^model name\s*:\s*(.+)$", _text("/proc/cpuinfo"), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB$", _text("/proc/meminfo"), re.MULTILINE)
    return {
        "processor": processor[1] if processor else platform.processor() or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{int(memory[1]) / 2**20:.0f} GB" if memory else "unknown",
        "system": f"{platform.system()} {platform.release()}",
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def is_busy() -> bool:
    """Whether more than half a core has been at work for the last minute, before anything was measured."""
    return os.getloadavg()[0] > 0.5


def versions() -> dict[str, str]:
    """Name what takes part, but for Triton, which tells itself, and whatever is not installed."""
    found = {"Python": platform.python_version()}
    found |= {package: importlib.metadata.version(package) for package in _OURS}
    root = Path(__file__).parents[1]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        found["commit"] = _output(["git", "-C", str(root), "rev-parse", "--short", "HEAD"])
    found["h2load"] = _output([h2load(), "--version"]).removeprefix("h2load ")
    for environment, packages in ((BENCH, ("nvidia-pytriton", "onnxruntime")), (PERF, ("perf-analyzer",))):
        if environment.python.is_file():
            found |= {f"{package} ({environment.folder.name})": environment.version(package) for package in packages}
    return found


def _text(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text()
    return ""


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 - our own words
