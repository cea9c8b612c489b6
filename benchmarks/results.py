"""Files with the results: JSON, the printed text, and a plot."""

import datetime as dt
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.comparison import server_name
from benchmarks.metrics import Rounds
from benchmarks.peers.triton import NOT_MEASURED
from benchmarks.plot import draw_plot
from benchmarks.report import evaluate_goals
from benchmarks.scenarios import SCENARIOS
from benchmarks.source_trees import SourceTree

__all__ = ["write_comparison", "write_report", "write_results"]


def write_report(
    folder: Path,
    found: Mapping[str, Rounds],
    description: Mapping[str, Mapping[str, str]],
    text: str,
    *,
    quick: bool,
) -> None:
    """Write bench.json, bench.txt and, if a scenario was measured, bench.svg.

    Args:
        folder: Folder for the files.
        found: The rounds of each scenario by its name.
        description: Result of `run_description.describe_run`.
        text: The printed report.
        quick: Whether the turns were shortened.
    """
    by_name = {scenario.name: scenario for scenario in SCENARIOS}
    results = {
        "quick": quick,
        "note": NOT_MEASURED,
        "scenarios": {
            name: {
                "title": by_name[name].title if name in by_name else name,
                "metrics": by_name[name].metrics if name in by_name else (),
                "compared": name in by_name,
                "rounds": rounds,
            }
            for name, rounds in found.items()
        },
        "targets": [
            {
                "scenario": result.goal.scenario,
                "metric": result.goal.metric,
                "server": result.goal.server,
                "to reach": str(result.goal),
                "found": result.value,
                "reached": result.is_met,
            }
            for result in evaluate_goals(found)
        ],
    }
    written = write_results(folder, "bench", results, description, text)
    hardware = ", ".join(f"{name} {text}" for name, text in description["hardware"].items())
    if draw_plot(found, f"rnnserve side by side: {hardware}", folder / "bench.svg"):
        written.append("bench.svg")
    print(f"wrote {', '.join(written)} to {folder}", file=sys.stderr)


def write_comparison(
    folder: Path,
    found: Mapping[str, Rounds],
    trees: Sequence[SourceTree],
    description: Mapping[str, Mapping[str, str]],
    text: str,
) -> None:
    """Write compare.json and compare.txt; the arguments are as in `write_report` and `render_comparison`."""
    results = {"trees": {server_name(tree): tree.description for tree in trees}, "scenarios": found}
    written = write_results(folder, "compare", results, description, text)
    print(f"wrote {', '.join(written)} to {folder}", file=sys.stderr)


def write_results(
    folder: Path, name: str, results: Mapping[str, Any], description: Mapping[str, Mapping[str, str]], text: str
) -> list[str]:
    """Write results as JSON, with the date and the machine, and the printed text; return the names of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    results = {"when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), **description, **results}
    (folder / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n")
    (folder / f"{name}.txt").write_text(text)
    return [f"{name}.json", f"{name}.txt"]
