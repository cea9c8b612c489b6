"""Comparison of this working tree's server with the server of another commit: `python -m benchmarks --against COMMIT`.

Both servers run at the same time and have turns in the order A B, B A. The speed of the machine changes over seconds.
So the program divides a server's metric by the other server's metric in the same round. The result is the median of
these ratios.
"""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from scipy import stats

from benchmarks import servers
from benchmarks.measurement import measure_scenario, model_folder
from benchmarks.metrics import Metrics, Rounds, median_of_rounds, ratios_by_round
from benchmarks.report import Description, describe_lines, format_metric
from benchmarks.scenarios import CPU_METRIC, SCENARIOS, START_METRICS, Scenario
from benchmarks.server_names import FAST_PATH
from benchmarks.server_processes import ServerProcess
from benchmarks.source_trees import SourceTree
from rnnserve.client.aligned_table import format_aligned_table

COMPARED = {"throughput": 1.0, "alone": 1.0, "lengths": 1.5, "steps": 1.5, "steps_gru": 1.5, "start": 0.0} | {
    scenario.name: 1.5 for scenario in SCENARIOS if scenario.name.startswith("lengths_")
}
"""The scenarios for comparisons of commits, and the seconds of the measurement in a turn. "start" starts each server in
each round, and compares the time until it is ready and its memory."""

ALWAYS = ("throughput", "alone", "lengths")
"""The scenarios to measure if the user names none."""

ROUNDS = 40
"""Default number of rounds. With this number, `ALWAYS` takes about seven minutes."""

ROUNDS_A_START = 8
"""Number of rounds after which the servers are started again. A server measures the cost of inference calls when it
starts, and plans its batches with these costs until it ends."""

_WARM_UP_S = 0.2
"""Warm-up of h2load in each turn. It is short because the server is warm and only the connections are new."""

_CONFIDENCE = 0.95


def server_name(tree: SourceTree) -> str:
    """Return the name of a tree's server for tables and logs."""
    return f"{FAST_PATH}, {tree.name}"


def compare_trees(
    scenario: Scenario, trees: Mapping[SourceTree, Path], rounds: int, work: Path
) -> dict[str, list[Metrics]]:
    """Measure the servers of the trees in turns.

    Args:
        scenario: The scenario, one of `COMPARED`.
        trees: The trees, each with the folder of the models that its own code has made.
        rounds: Number of rounds.
        work: Folder for logs. It contains the requests of this tree.

    Returns:
        The metrics of each server by `server_name`, one entry for each round.

    Raises:
        BenchmarkError: If a server or a load generator fails, or a response is wrong.
    """
    by_name = {server_name(tree): tree for tree in trees}
    folder = model_folder(scenario)

    def start(server: str) -> AbstractContextManager[ServerProcess]:
        tree = by_name[server]
        return servers.start_server_from_tree(server, tree, trees[tree] / folder, scenario.model, work)

    load = dataclasses.replace(scenario.load, warm_up=_WARM_UP_S)
    shortened, seconds = dataclasses.replace(scenario, load=load), COMPARED[scenario.name]
    with_cpu = load.generator != "start"
    found: dict[str, list[Metrics]] = {server: [] for server in by_name}
    for first in range(0, rounds, ROUNDS_A_START):
        count = min(ROUNDS_A_START, rounds - first)
        measured = measure_scenario(shortened, list(by_name), count, seconds, work, start, with_cpu=with_cpu)
        for server, metrics in measured.items():
            found[server] += metrics
    return found


def render_comparison(found: Mapping[str, Rounds], trees: Sequence[SourceTree], description: Description) -> str:
    """Write medians, ratios and the ratios of all rounds as text.

    Args:
        found: The rounds of each scenario by its name.
        trees: This working tree and the other tree.
        description: Facts about the run.
    """
    this, other = trees
    lines = [*(tree.description for tree in trees), ""]
    for scenario in SCENARIOS:
        if (rounds := found.get(scenario.name)) is None:
            continue
        count, seconds = max(len(each) for each in rounds.values()), COMPARED[scenario.name]
        turns = f"{count} rounds of {seconds:g} s" if seconds else f"{count} rounds"
        metrics = (*scenario.metrics, CPU_METRIC) if seconds else START_METRICS[:2]
        lines += [f"{scenario.title} ({scenario.name}; {turns})", *_scenario_lines(rounds, metrics, trees), ""]
    lines += [
        f"All ratios are of speed, {this.name} to {other.name}: times and memory are inverted, so more than 1 means "
        f"that {this.name} is faster, or smaller.",
        "speed ratio: the median of the ratios in each round; 95 % interval: of this median.",
    ]
    return "\n".join([*lines, *describe_lines(description)]) + "\n"


def speed_ratios(rounds: Rounds, server: str, against: str, metric: str) -> list[float]:
    """Divide a server's speed by the other server's speed in each round. Rounds that lack the metric are left out.

    The speed is the metric if the metric is a rate ("…/s"), and its inverse if the metric is a time. More than 1 is
    faster.
    """
    if metric.endswith("/s"):
        return ratios_by_round(rounds, server, against, metric)
    return ratios_by_round(rounds, against, server, metric)


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % confidence interval of the median for any distribution, or None if there are too few values."""
    if not values:
        return None
    interval = stats.quantile_test(values, p=0.5).confidence_interval(_CONFIDENCE)
    return None if interval.low != interval.low else (float(interval.low), float(interval.high))


def _scenario_lines(rounds: Rounds, metrics: Sequence[str], trees: Sequence[SourceTree]) -> list[str]:
    this, other = (server_name(tree) for tree in trees)
    rows, by_round = [], []
    for metric in metrics:
        ratios = speed_ratios(rounds, this, other, metric)
        interval = median_interval(ratios)
        medians = [format_metric(median_of_rounds(rounds, server, metric)) for server in (this, other)]
        ratio = f"{statistics.median(ratios):.3f}" if ratios else "-"
        rows.append([metric, *medians, ratio, "-" if interval is None else "{:.3f} to {:.3f}".format(*interval)])
        by_round.append(f"{metric} by round: {' '.join(f'{ratio:.3f}' for ratio in ratios)}")
    return [format_aligned_table(["metric", *(t.name for t in trees), "speed ratio", "95 % interval"], rows), *by_round]
