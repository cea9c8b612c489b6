"""Preparation of a run: the tools, the environments and the models, before anything is measured."""

import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from benchmarks.environments import PEERS, PERF_ANALYZER, find_h2load
from benchmarks.errors import BenchmarkError, MissingDependency
from benchmarks.scenarios import SCENARIOS, TRITON, TRITON_RAGGED

__all__ = ["find_load_generators", "install_peers", "make_models"]

_ROOT = Path(__file__).parents[1]


def find_load_generators(chosen: Collection[str]) -> None:
    """Check that the load generators of the chosen scenarios are installed; install perf_analyzer.

    Raises:
        MissingDependency: If one is not installed and cannot be.
    """
    find_h2load()
    if any(scenario.load.generator == "perf_analyzer" for scenario in SCENARIOS if scenario.name in chosen):
        PERF_ANALYZER.ensure()


def install_peers(chosen: Collection[str], without: Collection[str]) -> None:
    """Install Triton and matplotlib, if a chosen scenario needs them.

    Raises:
        MissingDependency: If Triton is needed and cannot be installed. Without matplotlib there is only no plot.
    """
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in chosen]
    if not scenarios:
        return
    names = {server for scenario in scenarios for server in scenario.servers} - set(without)
    try:
        PEERS.ensure()
    except MissingDependency as error:
        peers = sorted(names & {TRITON, TRITON_RAGGED})
        if peers:
            options = " ".join(f"--without {peer!r}" for peer in peers)
            raise MissingDependency(f"{error}; or leave it out: {options}") from error
        print(f"benchmarks: no plot: {error}", file=sys.stderr)


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
