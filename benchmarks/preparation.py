"""Preparation of a run: the tools, the environments and the models, before anything is measured."""

import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from benchmarks import environments
from benchmarks.environments import PERF_ANALYZER, find_h2load
from benchmarks.errors import BenchmarkError, MissingDependency
from benchmarks.scenarios import SCENARIOS, TRITON, TRITON_RAGGED

__all__ = ["find_load_generators", "install_triton", "make_models"]

_ROOT = Path(__file__).parents[1]


def find_load_generators(chosen: Collection[str]) -> None:
    """Check that the load generators of the chosen scenarios are installed; install perf_analyzer.

    Raises:
        MissingDependency: If one is not installed and cannot be.
    """
    find_h2load()
    if any(scenario.load.generator == "perf_analyzer" for scenario in SCENARIOS if scenario.name in chosen):
        PERF_ANALYZER.ensure()


def install_triton(chosen: Collection[str], without: Collection[str]) -> None:
    """Install Triton, if a chosen scenario measures it.

    Args:
        chosen: Names of the chosen scenarios.
        without: Names of the servers to leave out.

    Raises:
        MissingDependency: If Triton cannot be installed.
    """
    names = {server for scenario in SCENARIOS if scenario.name in chosen for server in scenario.servers}
    measured = sorted((names & {TRITON, TRITON_RAGGED}) - set(without))
    if not measured:
        return
    try:
        environments.TRITON.ensure()
    except MissingDependency as error:
        options = " ".join(f"--without {server!r}" for server in measured)
        raise MissingDependency(f"{error}; or leave it out: {options}") from error


def make_models(work: Path) -> None:
    """Write the measured models and their answers to `work / "models"`, in a process of its own.

    Raises:
        BenchmarkError: If that fails; the process has printed the reason.
    """
    print("making the models", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks.make_models", str(work / "models")]
    done = subprocess.run(command, cwd=_ROOT, check=False)  # noqa: S603 - our own interpreter
    if done.returncode != 0:
        raise BenchmarkError("the models could not be made; the lines above say why")
