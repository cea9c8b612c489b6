"""Compare this working tree's server with the server of another commit: `python -m benchmarks --against COMMIT`.

Both servers run side by side and are loaded in turns, A B B A, many short turns each. The machine's speed changes over
seconds, so a figure is divided by the other server's in the same round, and the median of these ratios is the result.
"""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks import measure, servers
from benchmarks.figures import Figures, Rounds, fastest_quarter_ratio, median, median_interval, speed_ratios
from benchmarks.processes import Process
from benchmarks.questions import Question
from benchmarks.report import table
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.source_trees import SourceTree

__all__ = ["COMPARED", "ROUNDS", "compare", "render_comparison", "server_name"]

COMPARED = {"throughput": 1.0, "alone": 1.0, "lengths": 1.5}
"""The scenarios that can be compared between commits, with the seconds that each turn is measured."""

ROUNDS = 40
"""Rounds where the command line does not say otherwise: about seven minutes for the three scenarios."""

_WARM_UP = 0.2
"""Seconds before each turn of h2load: the server is warm already, only the connections are new."""


def server_name(tree: SourceTree) -> str:
    """Name the server of a tree in tables and logs."""
    return f"rnnserve (lane), {tree.name}"


def compare(
    name: str, trees: Sequence[SourceTree], rounds: int, work: Path, versions: dict[str, str]
) -> dict[str, list[Figures]]:
    """Start the server of each tree, check its answers, and time them in turns.

    Args:
        name: One of `COMPARED`.
        trees: This working tree and the other one.
        rounds: Turns of each server.
        work: Holds the models, and takes logs.
        versions: Takes what servers say of their version.

    Returns:
        The figures of each server by `server_name`, one entry for each round.

    Raises:
        BenchError: If a server or a client fails, or an answer is wrong.
    """
    by_name = {server_name(tree): tree for tree in trees}

    def start(server: str, repository: Path, model: str, work: Path, _: Question) -> AbstractContextManager[Process]:
        return servers.start_from_tree(server, by_name[server], repository, model, work)

    scenario = _scenario(name)
    scenario = dataclasses.replace(scenario, load=dataclasses.replace(scenario.load, warm_up=_WARM_UP))
    return measure.measure(scenario, list(by_name), rounds, COMPARED[name], work, versions, start, with_cpu=True)


def render_comparison(
    found: Mapping[str, Rounds], trees: Sequence[SourceTree], about: Mapping[str, Mapping[str, str]]
) -> str:
    """Write medians, ratios and the ratios of each round as text."""
    this, other = trees
    lines = [f"{tree.description}" for tree in trees] + [""]
    for name, rounds in found.items():
        scenario = _scenario(name)
        count = max(len(figures) for figures in rounds.values())
        lines += [f"{scenario.title} ({name}; {count} rounds of {COMPARED[name]:g} s)"]
        rows = [["metric", this.name, other.name, "speed ratio", "95 % interval", "middle half", "fastest quarters"]]
        details = []
        for metric in (*scenario.metrics, measure.CPU_METRIC):
            ratios = speed_ratios(rounds, server_name(this), server_name(other), metric)
            fastest = fastest_quarter_ratio(rounds, server_name(this), server_name(other), metric)
            medians = [median(rounds, server_name(tree), metric) for tree in trees]
            rows.append([metric, *(_figure(value) for value in medians), *_summary(ratios), _number(fastest)])
            details.append(f"{metric} by round: {' '.join(f'{ratio:.3f}' for ratio in ratios)}")
        lines += [*table(rows), *details, ""]
    lines += [
        f"All ratios are of speed, {this.name} to {other.name}: times are inverted, so that more than 1 means that "
        f"{this.name} is faster.",
        "speed ratio: the median of the ratios in each round; 95 % interval: of this median; middle half: of the "
        "rounds' ratios.",
        "fastest quarters: the ratio of the medians of each server's fastest quarter of rounds, those that other work "
        "on the machine disturbed least.",
    ]
    for heading in ("hardware", "versions"):
        lines.append(f"{heading}: " + ", ".join(f"{key} {value}" for key, value in about[heading].items()))
    return "\n".join(lines) + "\n"


def _scenario(name: str) -> Scenario:
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


def _summary(ratios: Sequence[float]) -> list[str]:
    if not ratios:
        return ["-"] * 3
    interval = median_interval(ratios)
    spread = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else None
    return [
        f"{statistics.median(ratios):.3f}",
        f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "-",
        f"{spread[0]:.3f} to {spread[2]:.3f}" if spread else "-",
    ]


def _number(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.3f}"


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.4g}"
