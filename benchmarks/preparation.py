"""Preparation of a run: the tools, the environments and the models, before anything is measured."""

import os
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from benchmarks import environments
from benchmarks.environments import PERF_ANALYZER, find_h2load
from benchmarks.errors import BenchmarkError, MissingDependency
from benchmarks.http_servers import ENVIRONMENTS
from benchmarks.scenarios import SCENARIOS
from benchmarks.server_names import TRITON, TRITON_RAGGED, TRITON_SEQUENCES
from benchmarks.source_trees import SourceTree

__all__ = ["find_load_generators", "install_http_peers", "install_triton", "make_models", "make_models_of_tree"]

_ROOT = Path(__file__).parents[1]

_MODEL_FOLDERS = ("all_outputs", "logits_only", "sequences", "three_models")


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
    measured = sorted((names & {TRITON, TRITON_RAGGED, TRITON_SEQUENCES}) - set(without))
    if not measured:
        return
    try:
        environments.TRITON.ensure()
    except MissingDependency as error:
        options = " ".join(f"--without {server!r}" for server in measured)
        raise MissingDependency(f"{error}; or leave it out: {options}") from error


def install_http_peers(chosen: Collection[str], without: Collection[str]) -> dict[str, str]:
    """Install the peers that speak HTTP, if a chosen scenario measures them.

    Args:
        chosen: Names of the chosen scenarios.
        without: Names of the servers to leave out.

    Returns:
        By the name of each that cannot be had, why not.
    """
    missing: dict[str, str] = {}
    names = {server for scenario in SCENARIOS if scenario.name in chosen for server in scenario.servers}
    for server in sorted(names & ENVIRONMENTS.keys() - set(without)):
        try:
            ENVIRONMENTS[server].ensure()
        except MissingDependency as error:
            missing[server] = str(error)
    return missing


def make_models_of_tree(tree: SourceTree, work: Path) -> Mapping[str, Path]:
    """Write the measured models by the code of another tree: a server reads the artifacts of its own time.

    The weights are those of `make_models`, which follow from a seed.

    Args:
        tree: The tree.
        work: Folder for models.

    Returns:
        The folders by the names that `make_models` gives them.

    Raises:
        BenchmarkError: If that fails; the process has printed the reason.
    """
    print(f"making the models of {tree.name}", file=sys.stderr, flush=True)
    folder = work / f"models-{tree.name}"
    command = [sys.executable, "-m", "benchmarks.make_models", str(folder)]
    environment = {**os.environ, **tree.environment}
    done = subprocess.run(command, cwd=tree.root, env=environment, check=False)  # noqa: S603 - our own interpreter
    if done.returncode != 0:
        raise BenchmarkError(f"the models of {tree.name} could not be made; the lines above say why")
    return {name: folder / name for name in _MODEL_FOLDERS}


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
