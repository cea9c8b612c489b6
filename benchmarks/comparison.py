"""Comparison of this working tree's server with the server of another commit: `python -m benchmarks --against COMMIT`.

Both servers run at the same time and have turns in the order A B, B A. The speed of the machine changes over seconds,
so a server's metric is divided by the other's in the same round, and the median of these ratios is the result.
"""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks import servers
from benchmarks.measurement import (
    CPU_METRIC,
    START_METRICS,
    measure_scenario,
    print_progress,
    start_metrics,
    turns,
)
from benchmarks.metrics import (
    Metrics,
    Rounds,
    fastest_quarter_ratio,
    median_interval,
    median_of_rounds,
    speed_ratios,
)
from benchmarks.report import describe_lines, format_metric
from benchmarks.requests import BenchmarkRequest
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.server_names import FAST_PATH
from benchmarks.server_processes import ServerProcess
from benchmarks.source_trees import SourceTree
from rnnserve.client.aligned_table import format_aligned_table

__all__ = ["ALWAYS", "COMPARED", "ROUNDS", "compare_trees", "render_comparison", "server_name"]

COMPARED = {"throughput": 1.0, "alone": 1.0, "lengths": 1.5, "steps": 1.5, "steps_gru": 1.5, "start": 0.0} | {
    scenario.name: 1.5 for scenario in SCENARIOS if scenario.name.startswith("lengths_")
}
"""The scenarios that commits can be compared with, and the seconds of the measurement in a turn. "start" starts each
server in each round, and compares the time until it is ready and its memory."""

ALWAYS = ("throughput", "alone", "lengths")
"""Those of them that are measured unless others are named."""

ROUNDS = 40
"""Default number of rounds; `ALWAYS` then takes about seven minutes."""

ROUNDS_A_START = 8
"""After as many rounds the servers are started again. A server measures the costs of runs when it starts, and plans its
batches by them as long as it runs."""

_WARM_UP_S = 0.2
"""Warm-up of h2load in each turn. It is short, since the server is warm and only the connections are new."""


def server_name(tree: SourceTree) -> str:
    """Return the name of a tree's server for tables and logs."""
    return f"{FAST_PATH}, {tree.name}"


def compare_trees(
    name: str,
    trees: Sequence[SourceTree],
    others: Mapping[str, Path],
    rounds: int,
    work: Path,
    versions: dict[str, str],
) -> dict[str, list[Metrics]]:
    """Start the server of each tree, check its answers, and measure the servers in turns; then start them again.

    Args:
        name: Name of a scenario of `COMPARED`.
        trees: This working tree and the other tree.
        others: The other tree's models, from `preparation.make_models_of_tree`.
        rounds: Number of rounds.
        work: Folder with the models of this tree, and for logs.
        versions: Versions, as in `measure_scenario`.

    Returns:
        The metrics of each server by `server_name`, one entry for each round.

    Raises:
        BenchmarkError: If a server or a load generator fails, or an answer is wrong.
    """
    by_name = {server_name(tree): tree for tree in trees}

    def start_server(
        server: str, repository: Path, model: str, work: Path, _: BenchmarkRequest
    ) -> AbstractContextManager[ServerProcess]:
        tree = by_name[server]
        models = repository if tree is trees[0] else others[repository.name]
        return servers.start_server_from_tree(server, tree, models, model, work)

    if name == "start":
        return _compare_starts(by_name, trees[0], others, rounds, work)
    scenario = _scenario(name)
    scenario = dataclasses.replace(scenario, load=dataclasses.replace(scenario.load, warm_up=_WARM_UP_S))
    seconds = COMPARED[name]
    found: dict[str, list[Metrics]] = {server: [] for server in by_name}
    for first in range(0, rounds, ROUNDS_A_START):
        count = min(ROUNDS_A_START, rounds - first)
        measured = measure_scenario(
            scenario, list(by_name), count, seconds, work, versions, start_server, with_cpu=True
        )
        for server, metrics in measured.items():
            found[server] += metrics
    return found


def _compare_starts(
    by_name: Mapping[str, SourceTree], this: SourceTree, others: Mapping[str, Path], rounds: int, work: Path
) -> dict[str, list[Metrics]]:
    """Start the server of each tree with three models, in turns, and end it once it is ready."""
    found: dict[str, list[Metrics]] = {server: [] for server in by_name}
    for number, name in turns(list(by_name), rounds):
        tree = by_name[name]
        models = work / "models" / "three_models" if tree is this else others["three_models"]
        with servers.start_server_from_tree(name, tree, models, "three_models", work) as process:
            metrics = start_metrics(process)
        found[name].append(metrics)
        print_progress(f"start, round {number} of {rounds}: {name}: {metrics['ready s']:.3f} s")
    return found


def render_comparison(
    found: Mapping[str, Rounds], trees: Sequence[SourceTree], description: Mapping[str, Mapping[str, str]]
) -> str:
    """Write medians, ratios and the ratios of all rounds as text.

    Args:
        found: The rounds of each scenario by its name.
        trees: This working tree and the other tree.
        description: Result of `run_description.describe_run`.
    """
    this, other = trees
    lines = [*(tree.description for tree in trees), ""]
    for name, rounds in found.items():
        count = max(len(each) for each in rounds.values())
        if name == "start":
            lines.append(f"start to ready, three models (start; {count} rounds)")
            lines += [*_scenario_lines(rounds, START_METRICS[:2], trees), ""]
            continue
        scenario = _scenario(name)
        lines.append(f"{scenario.title} ({name}; {count} rounds of {COMPARED[name]:g} s)")
        lines += [*_scenario_lines(rounds, (*scenario.metrics, CPU_METRIC), trees), ""]
    lines += [
        f"All ratios are of speed, {this.name} to {other.name}: times and memory are inverted, so more than 1 means "
        f"that {this.name} is faster, or smaller.",
        "speed ratio: the median of the ratios in each round; 95 % interval: of this median; middle half: of the "
        "rounds' ratios.",
        "fastest quarters: the ratio of the medians of each server's fastest quarter of rounds, which other work on "
        "the machine has disturbed least.",
    ]
    return "\n".join([*lines, *describe_lines(description)]) + "\n"


def _scenario(name: str) -> Scenario:
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


def _scenario_lines(rounds: Rounds, metrics: Sequence[str], trees: Sequence[SourceTree]) -> list[str]:
    this, other = (server_name(tree) for tree in trees)
    rows, ratios_by_round = [], []
    for metric in metrics:
        ratios = speed_ratios(rounds, this, other, metric)
        medians = [median_of_rounds(rounds, server, metric) for server in (this, other)]
        fastest = fastest_quarter_ratio(rounds, this, other, metric)
        rows.append(
            [
                metric,
                *(format_metric(median) for median in medians),
                "-" if not ratios else f"{statistics.median(ratios):.3f}",
                _format_range(median_interval(ratios)),
                _format_range(_middle_half(ratios)),
                "-" if fastest is None else f"{fastest:.3f}",
            ]
        )
        ratios_by_round.append(f"{metric} by round: {' '.join(f'{ratio:.3f}' for ratio in ratios)}")
    header = ["metric", *(tree.name for tree in trees), "speed ratio", "95 % interval", "middle half"]
    return [format_aligned_table([*header, "fastest quarters"], rows), *ratios_by_round]


def _middle_half(values: Sequence[float]) -> tuple[float, float] | None:
    if len(values) < 2:
        return None
    quartiles = statistics.quantiles(values, n=4, method="inclusive")
    return quartiles[0], quartiles[2]


def _format_range(limits: tuple[float, float] | None) -> str:
    return "-" if limits is None else f"{limits[0]:.3f} to {limits[1]:.3f}"
