"""The report: tables of medians and ratios, and whether the performance goals are met."""

import dataclasses
from collections.abc import Mapping, Sequence

from benchmarks.http_measurement import FRONT_CPU_METRIC
from benchmarks.measurement import START_METRICS
from benchmarks.metrics import Rounds, median_of_rounds, median_ratio
from benchmarks.peers.triton import NOT_MEASURED
from benchmarks.scenarios import GOALS, SCENARIOS, SOAK, PerformanceGoal
from benchmarks.server_names import (
    CONSTANT,
    FAST_PATH,
    HTTP,
    MODEL_LIMITS,
    MOSEC,
    TRITON,
    TRITON_HTTP,
    TRITON_RAGGED,
    is_of_commit,
)
from rnnserve.client.aligned_table import format_aligned_table

__all__ = ["GoalResult", "describe_lines", "evaluate_goals", "format_metric", "render_report"]

_BASES = (TRITON, TRITON_RAGGED, TRITON_HTTP, MOSEC)
"""Servers by whose metrics those of all are divided."""

_TITLES = {scenario.name: scenario.title for scenario in SCENARIOS} | {
    "start": "start to ready, three models",
    "soak": f"{SOAK.requests:,} requests, memory from the first {SOAK.settle:,} on",
    "http_large": "gRPC, one at a time, alone and beside two clients that post 16 MiB of JSON without a pause",
}
_METRICS = {scenario.name: scenario.metrics for scenario in SCENARIOS} | {
    "start": START_METRICS,
    "soak": ("growth MB", "resident MB", "requests"),
    "http_large": ("p50 ms", "p99 ms", "max ms"),
}


@dataclasses.dataclass(frozen=True)
class GoalResult:
    """A performance goal and the measured value.

    Attributes:
        goal: The goal.
        value: The median of the metric over the rounds, or the median ratio.
    """

    goal: PerformanceGoal
    value: float

    @property
    def is_met(self) -> bool:
        """Whether the goal is met."""
        return self.goal.is_met(self.value)


def evaluate_goals(found: Mapping[str, Rounds]) -> list[GoalResult]:
    """Compare measured values with the goals; goals without a measured value are left out.

    Args:
        found: The rounds of each scenario by its name.
    """
    results = []
    for goal in GOALS:
        rounds = found.get(goal.scenario, {})
        if goal.against is None:
            value = median_of_rounds(rounds, goal.server, goal.metric)
        else:
            value = median_ratio(rounds, goal.server, goal.against, goal.metric)
        if value is not None:
            results.append(GoalResult(goal, value))
    return results


def render_report(found: Mapping[str, Rounds], description: Mapping[str, Mapping[str, str]]) -> str:
    """Write the report as text.

    Args:
        found: The rounds of each scenario by its name.
        description: Result of `run_description.describe_run`.
    """
    lines = []
    for name, rounds in found.items():
        count = max((len(each) for each in rounds.values()), default=0)
        lines += [f"{_TITLES[name]} ({name}; median of {count})", _scenario_table(rounds, _METRICS[name])]
        lines += [*_limit_lines(rounds, _METRICS[name][0]), ""]
    results = evaluate_goals(found)
    if results:
        lines += ["performance goals", _goal_table(results), ""]
    if any(not metrics for rounds in found.values() for each in rounds.values() for metrics in each):
        lines.append("-: saturated: in some round it answered so much slower than the rate that there are no figures")
    lines.append("ratios: the median over the rounds of a metric divided by the other server's in the same round")
    if any({TRITON, TRITON_RAGGED, TRITON_HTTP} & rounds.keys() for rounds in found.values()):
        lines.append(NOT_MEASURED)
    return "\n".join([*lines, *describe_lines(description)]) + "\n"


def describe_lines(description: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return a line for the hardware and one for the versions."""
    return [f"{heading}: " + ", ".join(f"{k} {v}" for k, v in facts.items()) for heading, facts in description.items()]


def format_metric(value: float | None) -> str:
    """Format a metric with three or more digits; "-" for None."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _scenario_table(rounds: Rounds, metrics: Sequence[str]) -> str:
    bases = [base for base in _BASES if rounds.get(base)]
    header = ["server"]
    for metric in metrics:
        header += [metric, *(f"/ {base}" for base in bases)]
    rows = []
    for server in rounds:
        row = [server]
        for metric in metrics:
            row.append(format_metric(median_of_rounds(rounds, server, metric)))
            row += [_format_ratio(median_ratio(rounds, server, base, metric)) for base in bases]
        rows.append(row)
    return format_aligned_table(header, rows)


def _limit_lines(rounds: Rounds, metric: str) -> list[str]:
    """Compare the fast path with its bounds and with what stood, in a line; say what a core of the front carries."""
    front = median_of_rounds(rounds, HTTP, FRONT_CPU_METRIC)
    if front:
        return [f"a core of the front carries {1e6 / front:,.0f} requests/s"]
    others = [name for name in rounds if name in (*MODEL_LIMITS, CONSTANT) or is_of_commit(name)]
    ratios = [(name, median_ratio(rounds, FAST_PATH, name, metric)) for name in others]
    texts = [f"{_format_ratio(ratio)} {name}" for name, ratio in ratios if ratio is not None]
    return [f"{metric} of {FAST_PATH}: {', '.join(texts)}"] if texts else []


def _goal_table(results: Sequence[GoalResult]) -> str:
    rows = []
    for result in results:
        goal = result.goal
        value = _format_ratio(result.value) if goal.against else format_metric(result.value)
        rows.append([goal.scenario, goal.metric, goal.server, str(goal), value, "yes" if result.is_met else "no"])
    return format_aligned_table(["scenario", "metric", "server", "goal", "measured", "met"], rows)


def _format_ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} x"
