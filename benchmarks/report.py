"""The report: tables of medians and ratios, the goals that are met or missed, and the files of the results."""

import contextlib
import dataclasses
import datetime as dt
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.environments import PERF_ANALYZER, TRITON, find_h2load
from benchmarks.metrics import Rounds, median_of_rounds, median_ratio
from benchmarks.peers.triton import NOT_MEASURED
from benchmarks.scenarios import FRONT_CPU_METRIC, GOALS, SCENARIOS, PerformanceGoal
from benchmarks.server_names import (
    CONSTANT,
    FAST_PATH,
    HTTP,
    MODEL_LIMITS,
    MOSEC,
    TRITON_HTTP,
    TRITON_RAGGED,
)
from benchmarks.server_names import TRITON as TRITON_SERVER
from rnnserve.client.aligned_table import format_aligned_table
from rnnserve.load.machine import describe_machine

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"

Description = Mapping[str, Mapping[str, str]]
"""Facts about a benchmark run under "hardware" and "versions", each as text by name: from `describe_run`."""

_BASES = (TRITON_SERVER, TRITON_RAGGED, TRITON_HTTP, MOSEC)
"""Servers whose metrics are the divisors of all servers' metrics."""

_HARDWARE = ("processor", "cores", "memory", "system")
_BUSY = 0.5
"""Mean number of other programs' running processes in the last minute from which the figures may mislead."""


def evaluate_goals(found: Mapping[str, Rounds]) -> list[tuple[PerformanceGoal, float]]:
    """Return each goal with the measured median or median ratio. Goals without a measured value are left out."""
    results = []
    for goal in GOALS:
        rounds = found.get(goal.scenario, {})
        if goal.against is None:
            value = median_of_rounds(rounds, goal.server, goal.metric)
        else:
            value = median_ratio(rounds, goal.server, goal.against, goal.metric)
        if value is not None:
            results.append((goal, value))
    return results


def render_report(found: Mapping[str, Rounds], description: Description) -> str:
    """Write the rounds of each scenario, by its name, as text."""
    lines = []
    for scenario in SCENARIOS:
        if (rounds := found.get(scenario.name)) is None:
            continue
        count = max((len(each) for each in rounds.values()), default=0)
        lines += [f"{scenario.title} ({scenario.name}; median of {count})", _scenario_table(rounds, scenario.metrics)]
        lines += [*_limit_lines(rounds, scenario.metrics[0]), ""]
    results = evaluate_goals(found)
    if results:
        lines += ["performance goals", _goal_table(results), ""]
    if any(not metrics for rounds in found.values() for each in rounds.values() for metrics in each):
        lines.append("-: saturated: in some round it answered so much slower than the rate that there are no figures")
    lines.append("ratios: the median over the rounds of a metric divided by the other server's in the same round")
    if any({TRITON_SERVER, TRITON_RAGGED, TRITON_HTTP} & rounds.keys() for rounds in found.values()):
        lines.append(NOT_MEASURED)
    return "\n".join([*lines, *describe_lines(description)]) + "\n"


def write_report(
    folder: Path, found: Mapping[str, Rounds], description: Description, text: str, *, quick: bool
) -> None:
    """Write bench.json and bench.txt. `quick` means that the turns were shortened."""
    results = {
        "quick": quick,
        "note": NOT_MEASURED,
        "scenarios": {
            scenario.name: {"title": scenario.title, "metrics": scenario.metrics, "rounds": found[scenario.name]}
            for scenario in SCENARIOS
            if scenario.name in found
        },
        "goals": [
            {**dataclasses.asdict(goal), "measured": value, "met": goal.is_met(value)}
            for goal, value in evaluate_goals(found)
        ],
    }
    write_results(folder, "bench", results, description, text)


def write_results(folder: Path, name: str, results: Mapping[str, Any], description: Description, text: str) -> None:
    """Write results as JSON, with the date and the machine, and the printed text."""
    folder.mkdir(parents=True, exist_ok=True)
    results = {"when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), **description, **results}
    (folder / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n")
    (folder / f"{name}.txt").write_text(text)
    print(f"wrote {name}.json and {name}.txt to {folder}", file=sys.stderr)


def describe_run() -> Description:
    """Return the facts about a run, and warn if other programs use this machine."""
    if os.getloadavg()[0] > _BUSY:
        print("benchmarks: other processes use this machine, so the figures may mislead", file=sys.stderr)
    machine = describe_machine()
    hardware = {name: machine[name] for name in _HARDWARE if name in machine}
    versions = {name: text for name, text in machine.items() if name not in _HARDWARE}
    versions["onnxruntime"] = importlib.metadata.version("onnxruntime")
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        versions["commit"] = _output(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"])
    versions["h2load"] = _output([find_h2load(), "--version"]).removeprefix("h2load ")
    for environment, packages in ((TRITON, ("nvidia-pytriton", "onnxruntime")), (PERF_ANALYZER, ("perf-analyzer",))):
        if environment.python.is_file():
            versions |= {f"{name} ({environment.folder.name})": environment.version(name) for name in packages}
    return {"hardware": hardware | {"load before": f"{os.getloadavg()[0]:.1f}"}, "versions": versions}


def describe_lines(description: Description) -> list[str]:
    """Return a line for the hardware and one for the versions."""
    return [f"{heading}: " + ", ".join(f"{k} {v}" for k, v in facts.items()) for heading, facts in description.items()]


def format_metric(value: float | None) -> str:
    """Format a metric with three or more digits, and None as "-"."""
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
    """Compare the fast path with its bounds in a line, with the load that one core of the HTTP gateway carries."""
    front = median_of_rounds(rounds, HTTP, FRONT_CPU_METRIC)
    if front:
        return [f"a core of the gateway carries {1e6 / front:,.0f} requests/s"]
    ratios = [
        (name, median_ratio(rounds, FAST_PATH, name, metric)) for name in rounds if name in (*MODEL_LIMITS, CONSTANT)
    ]
    texts = [f"{_format_ratio(ratio)} {name}" for name, ratio in ratios if ratio is not None]
    return [f"{metric} of {FAST_PATH}: {', '.join(texts)}"] if texts else []


def _goal_table(results: Sequence[tuple[PerformanceGoal, float]]) -> str:
    rows = []
    for goal, value in results:
        text = _format_ratio(value) if goal.against else format_metric(value)
        rows.append([goal.scenario, goal.metric, goal.server, str(goal), text, "yes" if goal.is_met(value) else "no"])
    return format_aligned_table(["scenario", "metric", "server", "goal", "measured", "met"], rows)


def _format_ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} x"


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 - no shell, our own arguments
