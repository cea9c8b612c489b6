"""Description of the machine and of the versions with which figures were measured."""

import contextlib
import importlib.metadata
import os
import subprocess
from pathlib import Path

from benchmarks.environments import PERF_ANALYZER, TRITON, find_h2load
from rnnserve.load.machine import describe_machine

__all__ = ["describe_run", "is_machine_busy"]

_HARDWARE = ("processor", "cores", "memory", "system")


def describe_run() -> dict[str, dict[str, str]]:
    """Return the facts about a run under "hardware" and "versions", each as text by name.

    The version of Triton is not among them: a running Triton server reports it.
    """
    machine = describe_machine()
    hardware = {name: machine[name] for name in _HARDWARE if name in machine}
    versions = {name: text for name, text in machine.items() if name not in _HARDWARE}
    versions["onnxruntime"] = importlib.metadata.version("onnxruntime")
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        root = Path(__file__).parents[1]
        versions["commit"] = _output(["git", "-C", str(root), "rev-parse", "--short", "HEAD"])
    versions["h2load"] = _output([find_h2load(), "--version"]).removeprefix("h2load ")
    for environment, packages in ((TRITON, ("nvidia-pytriton", "onnxruntime")), (PERF_ANALYZER, ("perf-analyzer",))):
        if environment.python.is_file():
            versions |= {f"{name} ({environment.folder.name})": environment.version(name) for name in packages}
    return {"hardware": hardware | {"load before": f"{os.getloadavg()[0]:.1f}"}, "versions": versions}


def is_machine_busy() -> bool:
    """Return whether other processes used more than half a core on average in the last minute."""
    return os.getloadavg()[0] > 0.5


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 - no shell, our own arguments
